"""Every recipe there is in ``experiments/``, by name."""

import importlib
from pathlib import Path

RECIPES = {
    module.RECIPE.name: module.RECIPE
    for path in sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
    if hasattr(module := importlib.import_module(f"experiments.{path.stem}"), "RECIPE")
}
