"""The command line of a recipe: a preset or a Python file, then fields set one by one.

``--config=NAME`` chooses one of the recipe's presets, ``--config=PATH.py`` runs a file of the
user's own that defines ``config``, and ``--config.GROUP.FIELD=VALUE`` sets a field of it.
"""

import difflib
import os
import runpy
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from experiments.fields import (
    Field,
    fields_of,
    from_dict,
    replaced,
    to_dict,
    undocumented,
)
from experiments.options import (
    COMMON,
    about,
    add_common,
    add_fields,
    literal,
    options_of,
    read_settings,
    table,
)
from experiments.values import shown
from jaxcnn.errors import UserError, unknown_name

__all__ = ["fields_of", "from_dict", "parse", "to_dict", "undocumented"]

C = TypeVar("C")


def parse(
    argv: Sequence[str],
    *,
    presets: Mapping[str, C],
    default: str,
    program: str,
    description: str,
    summaries: Mapping[str, str] | None = None,
) -> tuple[C, str]:
    """The configuration that a command line asks for, and the name of its preset or file.

    Args:
      argv: the words after the program.
      presets: frozen dataclasses of one class, by name.
      default: the preset that holds where there is no ``--config``.
      program: the program as it is called, such as ``'python -m experiments.vgg_imagenet'``.
      description: what the program does, for ``--help``.
      summaries: what each preset is, in one line, for ``--help``.

    Returns:
      The configuration, and the preset's name or that of the file without ``.py``.

    Raises:
      UserError: a word is not understood, or the configuration file fails.
      SystemExit: with status 0, after ``--help`` or ``--version``.
    """
    options = {"--config": Field("--config", str, default, "", tuple(presets))}
    options |= options_of(presets[default], "--config.")
    settings = read_settings(argv, options, _unknown)
    wants_help = settings.pop("--help", False)
    chosen = settings.pop("--config", default)
    config = presets[chosen] if chosen in presets else _from_file(chosen, presets)
    if wants_help:
        named = {preset: (summaries or {}).get(preset, "") for preset in presets}
        named[default] = f"{named[default]} (default)".strip()
        print(_help(config, named, f"--config={chosen}", program, description), end="")
        raise SystemExit(0)
    for option, value in settings.items():
        config = replaced(config, option.removeprefix("--config."), value)
    return config, Path(chosen).stem


def _unknown(option: str, options: Mapping[str, Field]) -> UserError:
    """The error for a word that is no option, with the most probable of those that are."""
    if not option.startswith("-"):
        return UserError(
            f"'{option}' is out of place; --config=NAME chooses a preset "
            "and --config.FIELD=VALUE sets a field."
        )
    if not option.startswith("--config."):
        return unknown_name("option", option, [*COMMON, *options])
    inside = [known for known in options if known.startswith(f"{option}.")]
    if inside:
        example = f"{inside[0]}={shown(options[inside[0]].default)}"
        return UserError(f"{option} is a group of fields; set one of them, such as {example}.")
    # Without the prefix that they share, which would make any two of them look alike.
    name = option.removeprefix("--config.")
    names = [known.removeprefix("--config.") for known in options if known != "--config"]
    group, _, last = name.rpartition(".")
    elsewhere = [known for known in names if known.rpartition(".")[2] == last]
    beside = {known.rpartition(".")[2]: known for known in names if known.startswith(f"{group}.")}
    if elsewhere or not beside:
        return unknown_name("field", name, elsewhere or names)
    near = difflib.get_close_matches(last, beside, n=1)
    hint = f"did you mean '{beside[near[0]]}'?" if near else f"'{group}' has {', '.join(beside)}."
    return UserError(f"there is no field '{name}'; {hint}")


def _from_file(name: str, presets: Mapping[str, C]) -> C:
    """What a Python file calls ``config``, after running the file and checking every field."""
    if not name:
        raise UserError("--config is empty; give it a preset's name or a Python file.")
    path = Path(name)
    if path.suffix != ".py":
        if os.sep in name or path.exists():
            raise UserError(f"--config={name}: a configuration file is Python and ends in .py.")
        raise unknown_name("preset", name, presets)
    if not path.is_file():
        raise UserError(f"--config={name}: there is no such file.")
    try:
        found = runpy.run_path(name)
    except Exception as error:
        raise UserError(_blame(error, name)) from None
    cls = type(next(iter(presets.values())))
    if "config" not in found:
        raise UserError(f"{name} defines no 'config'; add config = {cls.__name__}(...).")
    if not isinstance(found["config"], cls):
        kind = type(found["config"]).__name__
        raise UserError(f"{name}: 'config' is of type {kind}; make it {cls.__name__}(...).")
    try:
        return from_dict(cls, to_dict(found["config"]))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _blame(error: Exception, name: str) -> str:
    """An error of a configuration file in one sentence, with the line of the file at fault."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == name]
    text = str(error)
    if isinstance(error, SyntaxError):
        text = error.msg
        if error.filename == name:
            lines.append(error.lineno)
    at = f", line {lines[-1]}" if lines else ""
    return f"{name}{at}: {type(error).__name__}: {' '.join(text.split()).rstrip('.')}."


def _help(
    config: Any, presets: Mapping[str, str], chosen: str, program: str, description: str
) -> str:
    """The text of ``--help``."""
    parser = table()
    section = parser.add_argument_group("presets")
    for preset, summary in presets.items():
        section.add_argument(preset, help=literal(summary))
    add_fields(parser, config, "--config.", f"The defaults are those of {chosen}.")
    add_common(parser)
    usage = f"usage: {program} [--config=PRESET or FILE.py] [--config.FIELD=VALUE ...]"
    return f"{usage}\n\n{about(description)}\n\n{parser.format_help()}"
