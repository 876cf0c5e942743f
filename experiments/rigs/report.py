"""A result in sections, in a JSON file that is whole after every section."""

import datetime
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.files import write_atomically

Section = dict[str, Any]


class Report:
    """The sections so far, and the file that holds them.

    Attributes:
      sections: in the order in which they were added.
      record: what the file holds: ``complete``, a ``summary``, the command and the ``sections``.

    Args:
      path: the file; it is written at once.
      asked: what else is said of the command, JSON-able.
      summary: makes the summary, which stands before the sections, of all of them.

    Raises:
      UserError: the file cannot be written (every method).
    """

    def __init__(
        self,
        path: Path,
        asked: Mapping[str, Any],
        summary: Callable[[Sequence[Section]], Mapping[str, Any]],
    ) -> None:
        self._path, self._summary = path, summary
        self._start = time.monotonic()
        self.sections: list[Section] = []
        self.record: dict[str, Any] = {
            "complete": False,
            "summary": {},
            "command": " ".join(["python", *sys.orig_argv[1:]]),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            **asked,
            "sections": self.sections,
        }
        self._write()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def add(self, section: Section) -> None:
        """Adds a section and writes the file; a number that is infinite or NaN becomes null."""
        self.sections.append(_jsonable(section))
        self._write()

    def finish(self, **conclusion: Any) -> None:
        """Writes the end: that the result is complete, and what follows from it."""
        self.record = {"complete": True, **conclusion} | {
            key: value for key, value in self.record.items() if key != "complete"
        }
        self._write()

    def _write(self) -> None:
        self.record["seconds"] = round(self.elapsed(), 1)
        self.record["summary"] = dict(self._summary(self.sections))
        write_atomically(self._path, json.dumps(self.record, indent=2, allow_nan=False) + "\n")


def _jsonable(value: Any) -> Any:
    """The same with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _jsonable(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_jsonable(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
