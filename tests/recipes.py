"""Every recipe there is in ``experiments/``, by name."""

from experiments.digits import recipes

RECIPES = {recipe.name: recipe for recipe in recipes()}
