"""Completion of a command line by bash and zsh, through argcomplete.

The shell's part is argcomplete's: ``activate-global-python-argcomplete`` once. It starts the
command itself, with the line in the environment, where a file says PYTHON_ARGCOMPLETE_OK.
"""

import argparse
import os
from collections.abc import Callable


def complete(make_parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Answers what may come next, and ends the process, where a shell asks; else does nothing.

    Args:
      make_parser: gives a parser that knows every option with its choices; it need not be what
        reads them.
    """
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(make_parser())
