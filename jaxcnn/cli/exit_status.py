"""How a command ends: the exit status of each outcome, and what is said of a user's mistake."""

import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError

USER_MISTAKE = 2
_INTERRUPTED, _READER_GONE = 130, 141


def run_main(
    main: Callable[[Sequence[str], Output], int], program: str, argv: Sequence[str] | None = None
) -> int:
    """Calls ``main`` with the words after the program and gives the exit status of its outcome.

    ``--json`` and ``--quiet`` are taken out of the words, and say where its output goes.

    A user's mistake is one line on stderr and 2; an interrupt before the run took over its
    handling is 130 and a closed output (``| head``) 141, both silent, as shells have them.
    Whatever else is raised is a bug and goes on as a traceback.

    Args:
      main: the command; what it returns is the status.
      program: begins the line on stderr.
      argv: the words; None for those of this process.
    """
    try:
        try:
            output, words = Output.taken_from(sys.argv[1:] if argv is None else argv)
            with output.speaking():
                return main(words, output)
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"{program}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # A pipe to a worker process may also break, and that is no reason to be silent.
        if not _reader_gone(sys.stdout):
            raise
        # What is still buffered would raise once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE


def _reader_gone(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
