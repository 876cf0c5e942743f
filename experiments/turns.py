"""Processes that are measured in turns: each does what a line on its stdin says, and answers.

A contestant has a process of its own, so that none takes another's threads or memory. Orders and
answers are lines of JSON.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO


class EndedError(Exception):
    """A process has ended in place of an answer.

    Attributes:
      status: its exit status.
      reason: the last line that it wrote to stderr.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Contestant:
    """The process of a contestant, from the outside."""

    def __init__(self, process: subprocess.Popen[str], errors: TextIO) -> None:
        self._process, self._errors = process, errors

    def tell(self, order: Any) -> Any:
        """Gives an order and waits for the answer.

        Raises:
          EndedError: there is none.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it will not answer
            print(json.dumps(order), file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """Waits for an answer.

        Raises:
          EndedError: there is none.
        """
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        reasons = self._errors.read().strip().splitlines()
        killed = status == -signal.SIGKILL
        unsaid = "killed, as where memory runs out" if killed else "no reason given"
        raise EndedError(status, reasons[-1] if reasons else unsaid)


@contextlib.contextmanager
def contestant(module: str, *arguments: str, **environment: str) -> Iterator[Contestant]:
    """Starts a process, which is killed at the end if it has not ended.

    Args:
      module: its `main` reads orders from stdin and answers on `answers_alone`.
      *arguments: its command line.
      **environment: variables that it has besides ours.
    """
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe would fill, and stop it
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | environment,
            text=True,
        ) as process,
    ):
        try:
            yield Contestant(process, errors)
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # an order that it did not take
                process.communicate()


def answers_alone() -> TextIO:
    """This process's stdout for its answers; whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers
