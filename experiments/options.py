"""Options of a command line that set the fields of a dataclass, and their table in ``--help``."""

import argparse
import dataclasses
import functools
import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from experiments.fields import Field, fields_of, members, replaced
from experiments.values import kind_of, shown
from jaxcnn.cli.completion import complete
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.version import __version__

C = TypeVar("C")

COMMON = ("--help", "--version", "--json", "--quiet")
"""The options that every command takes."""

_BOOLS = ("true", "false", "1", "0")


def parse_options(argv: Sequence[str], default: C, *, program: str, description: str) -> C:
    """The configuration that ``--FIELD=VALUE`` and ``--GROUP.FIELD=VALUE`` make of a default.

    Args:
      argv: the words after the program.
      default: a frozen dataclass.
      program: the program as it is called, such as ``'python -m experiments.evaluate'``.
      description: what the program does, for ``--help``.

    Raises:
      UserError: a word is not understood.
      SystemExit: with status 0, after ``--help`` or ``--version``.
    """
    settings = read_settings(argv, options_of(default, "--"), _unknown)
    if settings.pop("--help", False):
        parser = table()
        add_fields(parser, default, "--")
        add_common(parser)
        usage = f"usage: {program} [--FIELD=VALUE ...]"
        print(f"{usage}\n\n{about(description)}\n\n{parser.format_help()}", end="")
        raise SystemExit(0)
    for option, value in settings.items():
        default = replaced(default, option.removeprefix("--"), value)
    return default


def options_of(config: Any, prefix: str) -> dict[str, Field]:
    """Every option with a value, as a field whose name is the option's full name.

    A group's ``shorthand`` makes the group's own name an option: that of the field it names.
    """
    options = {}
    for field in fields_of(config):
        option = f"{prefix}{field.name}"
        options[option] = field._replace(name=option)
    for group in members(config):
        if shorthand := getattr(group.type, "shorthand", None):
            options[f"{prefix}{group.name}"] = options[f"{prefix}{group.name}.{shorthand}"]
    return options


def read_settings(
    argv: Sequence[str],
    options: Mapping[str, Field],
    unknown: Callable[[str, Mapping[str, Field]], UserError],
) -> dict[str, Any]:
    """The values that a command line gives, by the full names of the options.

    Args:
      argv: the words after the program.
      options: those that there are, besides ``--help`` (a value of True) and ``--version``.
      unknown: the error for a word that is no option.

    Raises:
      UserError: a word is not understood, or an option is given twice with two values.
      SystemExit: with status 0, after ``--version``.
    """
    complete(lambda: _completed(options))
    settings: dict[str, Any] = {}
    for option, value in _settings(argv, options, unknown):
        if settings.setdefault(option, value) != value:
            both = f"{shown(settings[option])} and as {shown(value)}"
            raise UserError(f"{option} is given twice, as {both}; keep one of them.")
    if settings.pop("--version", False):
        print(f"jaxcnn {__version__}")
        raise SystemExit(0)
    return settings


def _settings(
    argv: Sequence[str],
    options: Mapping[str, Field],
    unknown: Callable[[str, Mapping[str, Field]], UserError],
) -> Iterator[tuple[str, Any]]:
    """Each option of a command line by its full name, with its value."""
    waiting = list(reversed(argv))
    while waiting:
        word = waiting.pop()
        option, equals, text = word.partition("=")
        if word in ("-h", "--help"):
            yield "--help", True
        elif word == "--version":
            yield "--version", True
        elif option in options:
            field = options[option]
            if not equals:
                text = _next(option, field, waiting)
            yield field.name, _read(option, field, text)
        else:
            raise unknown(option, options)


def _next(option: str, field: Field, waiting: list[str]) -> str:
    """The value of an option without ``=``: the next word, or True for a bool that stands alone."""
    is_bool = True in field.choices
    if waiting and (waiting[-1].lower() in _BOOLS if is_bool else not waiting[-1].startswith("--")):
        return waiting.pop()
    if is_bool:
        return "True"
    raise UserError(f"{option} needs a value, such as {option}={shown(field.default)}.")


def _read(option: str, field: Field, text: str) -> Any:
    kind = kind_of(field.type)
    try:
        return kind.read(text)
    except ValueError:
        raise UserError(f"{option}={text}: {kind.needed}.") from None


def _completed(options: Mapping[str, Field]) -> argparse.ArgumentParser:
    """The options as argcomplete wants them."""
    parser = argparse.ArgumentParser(add_help=False)
    add_common(parser)
    for option, field in options.items():
        choices = [shown(choice) for choice in field.choices] or None
        parser.add_argument(option, choices=choices, help=literal(field.help))
    return parser


def _unknown(option: str, options: Mapping[str, Field]) -> UserError:
    if not option.startswith("-"):
        return UserError(f"'{option}' is out of place; --FIELD=VALUE sets a field.")
    return unknown_name("option", option, [*COMMON, *options])


def table() -> argparse.ArgumentParser:
    """What lays out the table of ``--help``; it parses nothing."""
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS,
        add_help=False,
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=30),
    )
    setattr(parser, "color", False)  # noqa: B010 - which argparse has had since Python 3.14
    return parser


def add_fields(
    parser: argparse.ArgumentParser, config: Any, prefix: str, about_fields: str | None = None
) -> None:
    """Adds a section of the fields outside all groups, and one of each group's."""
    section = parser.add_argument_group("fields", about_fields)
    for field in fields_of(config):
        if "." not in field.name:
            _add(section, field, prefix)
    for group in members(config):
        if dataclasses.is_dataclass(group.type):
            section = parser.add_argument_group(group.name, literal(group.help))
            for field in fields_of(group.default):
                _add(section, field._replace(name=f"{group.name}.{field.name}"), prefix)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds a section of what every command takes."""
    section = parser.add_argument_group("for every command")
    Output.add_arguments(section)
    section.add_argument("--help", action="store_true", help="print this and end")
    section.add_argument("--version", action="store_true", help="print the version and end")


def about(description: str) -> str:
    """A module's docstring as the paragraphs of ``--help``."""
    width = shutil.get_terminal_size().columns - 2
    # Indented paragraphs are commands, and stay as they are.
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else textwrap.fill(paragraph, width)
        for paragraph in description.strip().split("\n\n")
    )


def literal(text: str) -> str:
    """A text as argparse prints it, which interpolates."""
    return text.replace("%", "%%")


def _add(section: Any, field: Field, prefix: str) -> None:
    words = f"{field.help} [{kind_of(field.type).words}; default {shown(field.default)}]"
    section.add_argument(f"{prefix}{field.name}", action="store_true", help=literal(words))
