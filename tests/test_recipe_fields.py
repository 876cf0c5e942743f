"""Every preset holds what its paper or source says, and what else it sets is said to be ours.

A table (``recipe_fields/``, a file to a paper) has, for each recipe and preset, a row for each
field: its value, and where that comes from: a section or table of the paper, the source, or ours.
``network.X`` is the field X of the network that the preset makes. A preset may set no field that
has no row. The presets on the digits stand for no paper and are left out.
"""

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pytest
from recipes import RECIPES

from experiments.commandline import fields_of
from experiments.config import Experiment
from experiments.network import make_model
from experiments.run import Recipe

TABLES = {
    recipe: table
    for path in sorted((Path(__file__).parent / "recipe_fields").glob("*.py"))
    for recipe, table in importlib.import_module(f"recipe_fields.{path.stem}").TABLES.items()
}
PRESETS = [
    (recipe, preset)
    for recipe in RECIPES.values()
    for preset in recipe.presets
    if not preset.endswith("digits")
]
WHERE = r"((sections?|tables?|figure|appendix|equation) [A-Z\d]+|README|source|ours)\b.*"


def of_the_network(config, name):
    value = getattr(make_model(config.model, num_classes=1000), name)
    if isinstance(value, functools.partial):
        value = value.func
    return getattr(value, "__name__", value)


def differences(config, table):
    """What a preset and its table do not say alike, a line to a field."""
    values = {field.name: field.default for field in fields_of(config)}
    defaults = {field.name: field.default for field in fields_of(Experiment)}
    found = [
        f"{name} is {value!r} and has no row"
        for name, value in values.items()
        if name not in table and value != defaults[name]
    ]
    for name, (expected, _) in table.items():
        if name.startswith("network."):
            value = of_the_network(config, name.removeprefix("network."))
        else:
            value = values[name]
        if value != expected:
            found.append(f"{name} is {value!r} and not {expected!r}")
    return found


@pytest.mark.parametrize(("recipe", "preset"), PRESETS, ids=[f"{r.name}-{p}" for r, p in PRESETS])
def test_a_preset_is_what_its_table_says(recipe: Recipe, preset):
    assert differences(recipe.presets[preset], TABLES[recipe.name][preset]) == []


def test_every_table_has_its_preset():
    of_tables = {(recipe, preset) for recipe, table in TABLES.items() for preset in table}
    assert of_tables == {(recipe.name, preset) for recipe, preset in PRESETS}


def test_every_row_says_where_its_value_comes_from():
    for recipe, table in TABLES.items():
        for preset, rows in table.items():
            for name, (_, where) in rows.items():
                assert re.fullmatch(WHERE, where), f"{recipe}, {preset}, {name}: {where}"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("optimizer.weight_decay", 1e-4, "optimizer.weight_decay is 0.0001 and not 0.0005"),
        ("optimizer.ema", 0.9, "optimizer.ema is 0.9 and has no row"),
        ("model.dropout", 0.4, "model.dropout is 0.4 and has no row"),
        ("model.dropout", 0.4, "network.dropout is 0.4 and not 0.5"),
    ],
)
def test_a_change_is_seen(field, value, sentence):
    group, _, name = field.partition(".")
    config = RECIPES["vgg_imagenet"].presets["d"]
    changed = dataclasses.replace(getattr(config, group), **{name: value})
    config = dataclasses.replace(config, **{group: changed})
    assert sentence in differences(config, TABLES["vgg_imagenet"]["d"])
