"""Every image of an evaluation counts exactly once: in batches of any size, on any devices."""

import contextlib
import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.pipeline import EvalBatches, iterate
from jaxcnn.data.sources import open_source
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.progress import Progress
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.evaluation import evaluate
from jaxcnn.training.interruption import StopRequest
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import create_state, make_eval_step

DATA = DataConfig(source="digits", eval_split="train+test", image_size=32, threads=2)
FIELDS = {
    "num_classes": 10,
    "width": 4,
    "hidden": (16, 16),
    "pooled_size": 1,
    "initialization": "he",
}
IMAGES = 1797


@pytest.fixture(scope="module")
def digits():
    return open_source(DATA.source, DATA.eval_split)


@pytest.fixture(scope="module")
def whole(digits):
    """All images and labels as one batch."""
    return batches(digits, IMAGES)[0]


@jax.jit
def normalise(images):
    return Preprocessing(mean=(78.0,), std=(82.0,))(images)


@jax.jit
def logits_of(params, images):
    return models.create_model("vgg11", **FIELDS).apply({"params": params}, normalise(images))


@pytest.fixture(scope="module")
def state(whole):
    """A network of random weights whose answers are spread over the classes."""
    model = models.create_model("vgg11", **FIELDS)
    optimizer = make_optimizer(OptimizerConfig())
    images = jnp.zeros((1, 32, 32, 1))
    state = jax.jit(lambda: create_state(model, optimizer, images, seed=0))()
    bias = -logits_of(state.params, whole["image"]).mean(axis=0)
    params = {**state.params, "logits": {**state.params["logits"], "bias": bias}}
    return dataclasses.replace(state, params=params)


def batches(source, size):
    return EvalBatches(source, config=DATA, augment=AugmentConfig(), batch_size=size)


def count(source, state, *, batch_size, devices=8, mode="jit", change=lambda batch: batch):
    """The sums over a source, as `experiments.run` comes to them."""
    layout = make_layout(ParallelConfig(mode=mode, devices=devices))
    step = make_eval_step(
        models.create_model("vgg11", **FIELDS, axis_name=layout.axis_name),
        normalise,
        axis_name=layout.axis_name,
    )
    # Whole rows for every device.
    padded = batches(source, batch_size + -batch_size % devices)
    with iterate(padded, 0, len(padded), DATA) as stream:
        return evaluate(
            layout.replicate(state),
            layout.compile(step, donate=(1,)),
            contextlib.nullcontext(map(change, stream)),
            layout=layout,
            num_classes=10,
            stop=StopRequest(),
            progress=Progress(total=IMAGES, description="evaluation", enabled=False),
        )


@pytest.fixture(scope="module")
def expected(state, whole):
    """Of the logits of all images, by numpy."""
    logits, labels = np.asarray(logits_of(state.params, whole["image"])), whole["label"]
    rank = np.sum(logits > logits[np.arange(IMAGES), labels][:, None], axis=1)
    return {
        "total": IMAGES,
        "top1": np.sum(rank == 0),
        "top5": np.sum(rank < 5),
        "correct": np.bincount(labels[rank == 0], minlength=10),
        "count": np.bincount(labels, minlength=10),
    }


def counts(sums):
    return {
        "total": sums.total.count,
        "top1": sums.total.correct,
        "top5": sums.total.correct_top5,
        "correct": sums.correct,
        "count": sums.count,
    }


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
@pytest.mark.parametrize(("devices", "mode"), [(1, "jit"), (1, "pmap"), (8, "jit"), (8, "pmap")])
def test_every_image_counts_once(devices, mode, batch_size, digits, state, expected):
    sums = count(digits, state, batch_size=batch_size, devices=devices, mode=mode)
    chex.assert_trees_all_equal(counts(sums), expected)


def test_the_answers_are_of_many_kinds(expected):
    """Else wrong counts could be equal: all images of one class look like all of another."""
    assert np.sum(expected["correct"] > 0) >= 5
    assert len(set(expected["count"])) >= 5
    assert expected["top1"] < expected["top5"] < IMAGES


@pytest.mark.parametrize("batch_size", [64, 1000])
def test_padding_that_counts_is_noticed(batch_size, digits, state, expected):
    def unmasked(batch):
        return {**batch, "weight": np.ones_like(batch["weight"])}

    sums = counts(count(digits, state, batch_size=batch_size, change=unmasked))
    assert sums["total"] == -(-IMAGES // batch_size) * batch_size
    assert sums["count"][0] == expected["count"][0] + sums["total"] - IMAGES
