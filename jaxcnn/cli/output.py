"""What a command says: its result for people or as JSON, and remarks that ``--quiet`` drops."""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Self, TextIO

from jaxcnn.errors import printable
from jaxcnn.progress import without_progress

_JSON, _QUIET = "print the result as JSON lines", "print the result alone, and warnings"


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a command's words go.

    The result goes to stdout, as text or, with ``--json``, as one JSON object to a line and nothing
    else. Remarks, progress and warnings go to stderr.

    Attributes:
      json: whether the result is JSON.
      quiet: whether there are neither remarks nor progress.
      stdout: where the result goes.
    """

    json: bool = False
    quiet: bool = False
    stdout: TextIO = dataclasses.field(default_factory=lambda: sys.stdout)

    @staticmethod
    def add_arguments(parser: argparse._ActionsContainer) -> None:
        """Adds ``--json`` and ``--quiet``, to be shown; `taken_from` has read them by then."""
        parser.add_argument("--json", action="store_true", help=_JSON)
        parser.add_argument("--quiet", action="store_true", help=_QUIET)

    @classmethod
    def taken_from(cls, words: Sequence[str]) -> tuple[Self, list[str]]:
        """That which the words of a command line ask for, and the other words."""
        rest = [word for word in words if word not in ("--json", "--quiet")]
        return cls("--json" in words, "--quiet" in words), rest

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Within it what is printed is a remark, but for the result."""
        with contextlib.ExitStack() as stack:
            if self.quiet:
                stack.enter_context(without_progress())
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            elif self.json:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield

    @property
    def words(self) -> list[str]:
        """What asks another command for the same."""
        return ["--json"] * self.json + ["--quiet"] * self.quiet

    def result(self, record: Any, text: str) -> None:
        """Prints the result.

        Args:
          record: of what JSON knows; of a list every element has a line.
          text: the same, for people.
        """
        records = record if isinstance(record, list) else [record]
        lines = map(json.dumps, records) if self.json else map(printable, text.split("\n"))
        print(*lines, sep="\n", file=self.stdout, flush=True)

    def note(self, line: str) -> None:
        """Prints a remark."""
        if not self.quiet:
            print(printable(line), file=sys.stderr, flush=True)
