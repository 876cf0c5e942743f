"""Completion of a command line by bash and zsh, through argcomplete.

The shell's part is argcomplete's: ``activate-global-python-argcomplete`` once. It starts the
command itself, with the line in the environment, where a file says PYTHON_ARGCOMPLETE_OK.
"""

import argparse
import os


def asked_to_complete() -> bool:
    """Whether a shell started this process to know what may come next."""
    return "_ARGCOMPLETE" in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers what may come next, and ends the process, where a shell asks; else does nothing.

    Args:
      parser: one that knows every option with its choices; it need not be what reads them.
    """
    if asked_to_complete():
        import argcomplete

        argcomplete.autocomplete(parser)
