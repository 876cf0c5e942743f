"""What a command says: its result for people or as JSON, and remarks that ``--quiet`` drops."""

import argparse
import dataclasses
import json
import sys
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a command's words go.

    The result goes to stdout, as text or, with ``--json``, as one JSON object to a line and nothing
    else. Remarks and progress go to stderr.

    Attributes:
      json: whether the result is JSON.
      quiet: whether there are neither remarks nor progress.
    """

    json: bool = False
    quiet: bool = False

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Adds ``--json`` and ``--quiet``."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON lines")
        parser.add_argument("--quiet", action="store_true", help="print nothing but the result")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """That which the arguments ask for."""
        return cls(arguments.json, arguments.quiet)

    def result(self, record: Any, text: str) -> None:
        """Prints the result.

        Args:
          record: of what JSON knows.
          text: the same, for people.
        """
        print(json.dumps(record) if self.json else text, flush=True)

    def note(self, line: str) -> None:
        """Prints a remark."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)
