"""Every preset of every recipe is whole, and every field says what it means."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from experiments.commandline import fields_of, from_dict, to_dict, undocumented
from experiments.config import FREE_ON_RESUME, Experiment
from experiments.run import Recipe
from experiments.workdir import changes
from jaxcnn.errors import UserError
from jaxcnn.training.train_config import TrainConfig

RECIPES = [
    module.RECIPE
    for path in sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
    if hasattr(module := importlib.import_module(f"experiments.{path.stem}"), "RECIPE")
]
PRESETS = [(recipe, name) for recipe in RECIPES for name in recipe.presets]


def test_the_recipes_are_found():
    assert {r.name for r in RECIPES} >= {"vgg_imagenet", "vgg_stl10", "vgg_cifar10", "vgg_mnist"}


@pytest.mark.parametrize(("recipe", "name"), PRESETS, ids=[f"{r.name}-{n}" for r, n in PRESETS])
def test_a_preset_is_valid_and_survives_json(recipe: Recipe, name):
    config = recipe.presets[name]
    config.check()
    assert from_dict(Experiment, to_dict(config)) == config


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
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


def test_the_papers_recipe():
    """PAPER_FACTS: section 3.1 of Simonyan and Zisserman, field by field."""
    presets = next(r for r in RECIPES if r.name == "vgg_imagenet").presets
    d = presets["d"]
    assert (d.model.name, d.data.source, d.data.image_size) == ("vgg16", "imagenet2012", 224)
    assert (d.train.batch_size, d.train.epochs) == (256, 74)
    assert (d.optimizer.name, d.optimizer.learning_rate) == ("paper_momentum", 1e-2)
    assert (d.optimizer.momentum, d.optimizer.weight_decay) == (0.9, 5e-4)
    assert (d.schedule.kind, d.schedule.factor, d.schedule.max_reductions) == ("plateau", 0.1, 3)
    assert d.schedule.monitor == "error"
    assert (d.augment.scale_min, d.augment.scale_max) == (256, 256)
    assert (d.augment.crop, d.augment.flip, d.augment.color_shift) == ("random", True, 0.1)
    assert d.data.normalization == "mean"
    assert presets["d_384"].augment.scale_min == presets["d_384"].augment.scale_max == 384
    assert presets["d_384"].optimizer.learning_rate == 1e-3
    jitter = presets["d_jitter"].augment
    assert (jitter.scale_min, jitter.scale_max, jitter.central_scale(224)) == (256, 512, 384)
    names = ("a", "a_lrn", "b", "c", "d", "e", "a_bn", "b_bn", "c_bn", "d_bn", "e_bn")
    assert set(names) <= set(presets)


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
    digits = next(r for r in RECIPES if r.name == "vgg_imagenet").presets["digits"]
    groups = {
        name: dataclasses.replace(getattr(digits, name), **value)
        if isinstance(value, dict)
        else value
        for name, value in change.items()
    }
    with pytest.raises(UserError, match=word):
        dataclasses.replace(digits, **groups).check()
