"""BatchNorm's statistics over many batches, on any devices; the loop's part is in test_loop.py."""

import contextlib
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from networks import QUICKLY

from jaxcnn.models.layers import BatchNorm, Dropout
from jaxcnn.progress import Progress
from jaxcnn.training.exact_statistics import make_statistics_step, with_exact_statistics
from jaxcnn.training.interruption import StopRequest
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import create_state

DEVICES = tuple(jax.devices())
COUNT, BATCH = 3, 16


class TwoNorms(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        norm = functools.partial(
            BatchNorm, use_running_average=not train, axis_name=self.axis_name, momentum=0.8
        )
        x = norm(name="bn1")(nn.Conv(4, (3, 3), name="conv1")(x))
        x = Dropout(0.5, self.axis_name, name="dropout")(nn.relu(x), train=train)
        x = norm(name="bn2")(nn.Conv(5, (3, 3), name="conv2")(x))
        return nn.Dense(3, name="logits")(x.mean((1, 2)))


def batches():
    random = np.random.default_rng(0)
    for number in range(COUNT):
        images = random.normal(number, 1 + number, (BATCH, 6, 6, 2))  # each batch has its own mean
        yield {"image": images.astype(np.float32), "label": np.zeros(BATCH, np.int32)}


@functools.cache
def state():
    optimizer = make_optimizer(OptimizerConfig())
    create = functools.partial(create_state, TwoNorms(), optimizer, seed=0)
    made = jax.jit(create, compiler_options=QUICKLY)(jnp.zeros((1, 6, 6, 2)))
    return jax.tree.map(np.asarray, made.replace(step=np.int32(40)))


@functools.cache
def exact(layout, freeze=None, seed=0):
    step = make_statistics_step(
        TwoNorms(layout.axis_name),
        lambda batch, step: (batch["image"], batch["label"]),
        seed=seed,
        freeze=freeze,
    )
    after = with_exact_statistics(
        layout.distribute(state()),
        layout.compile(step),
        contextlib.nullcontext(batches()),
        layout=layout,
        stop=StopRequest(),
        progress=Progress(total=0, description="", enabled=False),
        freeze=freeze,
    )
    after = layout.fetch(after)
    chex.assert_trees_all_equal(after.params, state().params)
    return after.batch_stats


ONE = JitLayout(DEVICES[:1])


def test_mean_and_variance_are_those_of_all_the_images():
    convolution = nn.Conv(4, (3, 3))
    images = jnp.concatenate([batch["image"] for batch in batches()])
    seen = np.asarray(convolution.apply({"params": state().params["conv1"]}, images), np.float64)
    statistics = exact(ONE)["bn1"]
    np.testing.assert_allclose(statistics["mean"], seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics["var"], seen.var((0, 1, 2)), rtol=1e-4)


def test_the_layers_above_see_dropout_by_the_seed_and_the_step():
    again, other = exact.__wrapped__(ONE), exact(ONE, seed=1)
    chex.assert_trees_all_equal(again, exact(ONE))
    chex.assert_trees_all_equal(other["bn1"], exact(ONE)["bn1"])
    assert np.abs(other["bn2"]["mean"] - exact(ONE)["bn2"]["mean"]).min() > 0


@pytest.mark.parametrize("layout", [JitLayout(DEVICES), PmapLayout(DEVICES)], ids=["jit", "pmap"])
def test_several_devices_find_the_same(layout):
    chex.assert_trees_all_close(exact(layout), exact(ONE), rtol=1e-4, atol=1e-5)


def test_frozen_layers_keep_theirs_to_the_bit():
    statistics = exact(ONE, freeze="conv1")
    chex.assert_trees_all_equal(statistics["bn1"], state().batch_stats["bn1"])
    assert np.abs(statistics["bn2"]["var"] - exact(ONE)["bn2"]["var"]).min() > 0
