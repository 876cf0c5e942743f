"""The command line of what is done for any recipe: RECIPE, and the options that it takes."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments import commandline
from experiments.config import Experiment
from experiments.digits import recipes
from jaxcnn.errors import unknown_name


class Asked(NamedTuple):
    """A run that a command is about.

    Attributes:
      recipe: the name of its command.
      preset: the name of its preset.
      config: its whole configuration.
    """

    recipe: str
    preset: str
    config: Experiment


def asked_for(
    command: str, arguments: Sequence[str], *, description: str, own: str = ""
) -> Asked | None:
    """The run that the words after a command name; None where they ask for help, which is printed.

    Args:
      command: such as 'preflight'.
      arguments: the words, without the command's own options.
      description: what it does, for the help.
      own: its own options, for the help.

    Raises:
      UserError: there is no such recipe, or what follows is no option of it.
    """
    known = {recipe.name: recipe for recipe in recipes()}
    name, options = (arguments or ["--help"])[0], arguments[1:]
    if name in ("-h", "--help"):
        words = " ".join(filter(None, ("RECIPE", own, "[options of RECIPE]")))
        print(f"usage: python -m experiments.{command} {words}\n\n{description}")
        print(f"The recipes are {', '.join(known)}.")
        return None
    if name not in known:
        raise unknown_name("recipe", name, known)
    config, preset = commandline.parse(
        options,
        presets=known[name].presets,
        default=known[name].default,
        program=f"python -m experiments.{command} {name}",
        description=description,
        summaries=known[name].summaries,
    )
    return Asked(name, preset, config)
