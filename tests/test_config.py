"""Every preset of every recipe is whole, and every field says what it means."""

import dataclasses

import pytest
from recipes import RECIPES

from experiments.commandline import fields_of, from_dict, to_dict, undocumented
from experiments.config import FREE_ON_RESUME, Experiment
from experiments.run import Recipe
from experiments.workdir import changes
from jaxcnn.errors import UserError
from jaxcnn.training.train_config import TrainConfig

PRESETS = [(recipe, name) for recipe in RECIPES.values() for name in recipe.presets]


def test_the_recipes_are_found():
    assert set(RECIPES) >= {"vgg_imagenet", "vgg_stl10", "resnet_imagenet", "resnet_cifar10"}


@pytest.mark.parametrize(("recipe", "name"), PRESETS, ids=[f"{r.name}-{n}" for r, n in PRESETS])
def test_a_preset_is_valid_and_survives_json(recipe: Recipe, name):
    config = recipe.presets[name]
    config.check()
    assert from_dict(Experiment, to_dict(config)) == config


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_a_recipe_has_a_digits_preset_and_names_itself(recipe: Recipe):
    assert "digits" in recipe.presets
    assert recipe.default in recipe.presets
    assert f"python -m experiments.{recipe.name}" in recipe.description


def test_every_field_says_what_it_means():
    assert undocumented(Experiment) == []


def test_the_fields_that_may_change_on_resuming_exist():
    assert {field.name for field in fields_of(Experiment)} >= FREE_ON_RESUME


def test_a_run_of_an_earlier_version_had_the_defaults_of_fields_that_came_later():
    config = Experiment()
    saved = to_dict(config)
    del saved["train"]["auxiliary_weight"]
    assert changes(saved, config, free=()) == []
    other = dataclasses.replace(config, train=TrainConfig(auxiliary_weight=0.5))
    assert changes(saved, other, free=()) == ["train.auxiliary_weight: 0.3 -> 0.5"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"model": {"name": "vgg17"}}, "vgg1"),
        ({"model": {"initialize_layers": "("}}, "initialize_layers"),
        ({"augment": {"scale_min": 16}}, "scale_min"),
        ({"schedule": {"warmup_epochs": 30.0}}, "warmup_epochs"),
        ({"train": {"auxiliary_weight": -0.3}}, "train.auxiliary_weight"),
        ({"eval": {"batch_size": 0}}, "eval.batch_size"),
        ({"checkpoint": {"keep": 0}}, "checkpoint.keep"),
        ({"parallel": {"processes": 2}}, "parallel"),
    ],
)
def test_what_cannot_work_is_one_sentence(change, word):
    digits = RECIPES["vgg_imagenet"].presets["digits"]
    groups = {
        name: dataclasses.replace(getattr(digits, name), **value)
        if isinstance(value, dict)
        else value
        for name, value in change.items()
    }
    changed = dataclasses.replace(digits, **groups)

    def check():
        changed.check()
        changed.check_length(steps_per_epoch=22)

    with pytest.raises(UserError, match=word):
        check()
