"""An argparse parser whose complaints are the sentences that users get everywhere else."""

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from jaxcnn.cli.completion import complete
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError, unknown_name


class Parser(argparse.ArgumentParser):
    """A parser of one command.

    Options are never abbreviated, ``--image_size`` is also ``--image-size``, and a mistake is a
    ``UserError`` that suggests the nearest right word.

    Args:
      program: the command as it is called, such as ``'python -m jaxcnn summary'``.
      description: its module's docstring, whose first paragraph says what it does.
    """

    def __init__(self, program: str, description: str) -> None:
        super().__init__(
            prog=program,
            description=description.strip(),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self.color = False  # which argparse has had since Python 3.14
        Output.add_arguments(self)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values that the words of a command line give.

        Raises:
          UserError: a word is not understood, or one is missing.
          SystemExit: with status 0, after ``--help``.
        """
        complete(lambda: self)
        values, rest = self.parse_known_intermixed_args([self._as_declared(word) for word in words])
        if rest:
            option = rest[0].partition("=")[0]
            if not option.startswith("-"):
                raise UserError(f"'{option}' is out of place; {self.prog} --help says what is not.")
            raise unknown_name("option", option, self._option_string_actions)
        return values

    def error(self, message: str) -> NoReturn:
        """What argparse calls where it would exit with its usage."""
        said = re.sub(r"^argument ([^:]*):", r"\1:", message)
        raise UserError(f"{said}; {self.prog} --help says more.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = action.option_strings[0] if action.option_strings else action.dest
            raise unknown_name(f"choice of {what} called", str(value), map(str, action.choices))

    def _as_declared(self, word: str) -> str:
        """A word with the dashes or underscores that its option was declared with."""
        option, equals, value = word.partition("=")
        for spelt in (option.replace("_", "-"), "--" + option[2:].replace("-", "_")):
            if option.startswith("--") and spelt in self._option_string_actions:
                return f"{spelt}{equals}{value}"
        return word


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, and the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


def comma_separated(text: str) -> tuple[str, ...]:
    """The ``type`` of an option that takes several words."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def seed(text: str) -> int:
    """The ``type`` of an option that random numbers are drawn by.

    Raises:
      ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 to {2**32 - 1}")
    return int(text)


def add_choice(
    parser: argparse.ArgumentParser, name: str, choices: Iterable[str], **options: Any
) -> None:
    """Adds an argument of a few possible words, shown in ``--help`` and completed by shells."""
    parser.add_argument(name, choices=sorted(choices), **options)
