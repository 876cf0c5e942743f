"""The preset that a configuration is nearest to: a run does not say which one it was made from."""

from pathlib import Path
from typing import Any, NamedTuple

from experiments.config import FREE_ON_RESUME, Experiment
from experiments.digits import recipes
from experiments.fields import fields_of


class Preset(NamedTuple):
    """A preset of a recipe.

    Attributes:
      recipe: the name of its command.
      name: its own.
      config: its whole configuration.
    """

    recipe: str
    name: str
    config: Experiment


def nearest_preset(config: Experiment, workdir: Path) -> Preset:
    """The preset from which the fewest fields differ, of those that change a run's numbers.

    Of several that are as near it is the one that the work directory is named after, if it is one.

    Args:
      config: of a run.
      workdir: of the run, ``runs/RECIPE/PRESET`` where it was not given.
    """
    presets = [Preset(r.name, name, c) for r in recipes() for name, c in r.presets.items()]

    def distance(preset: Preset) -> tuple[int, bool]:
        differing = set(differences(config, preset.config)) - FREE_ON_RESUME
        return len(differing), (preset.recipe, preset.name) != workdir.resolve().parts[-2:]

    return min(presets, key=distance)


def differences(config: Experiment, other: Experiment) -> dict[str, Any]:
    """The fields that differ, with the other's values."""
    return {
        ours.name: theirs.default
        for ours, theirs in zip(fields_of(config), fields_of(other), strict=True)
        if ours.default != theirs.default
    }
