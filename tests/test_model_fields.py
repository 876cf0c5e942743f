"""The fields by which a configuration changes a network, and what AlexNet makes of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.network import ModelConfig, make_model
from jaxcnn import models
from jaxcnn.errors import UserError

ALEXNET = {"width": 12, "hidden": (16,), "pooled_size": 1, "dropout": 0.0, "initialization": "he"}


@pytest.mark.parametrize(
    ("network", "field", "value"),
    [
        ("alexnet", "lrn", False),
        ("alexnet", "norm_place", "after_pool"),
        ("alexnet", "pool_window", 2),
        ("alexnet", "groups", 1),
        ("vgg11", "lrn", True),
        ("googlenet", "lrn", False),
        ("googlenet", "auxiliary", False),
        ("resnet20", "shortcut", "B"),
    ],
)
def test_a_field_is_set_and_none_leaves_the_networks_own(network, field, value):
    own = getattr(models.create_model(network), field)
    assert own != value
    assert getattr(make_model(ModelConfig(network), num_classes=2), field) == own
    config = dataclasses.replace(ModelConfig(network), **{field: value})
    config.check()
    assert getattr(make_model(config, num_classes=2), field) == value


@pytest.mark.parametrize("network", ["alexnet", "vgg11"])
@pytest.mark.parametrize(
    ("name", "below"), [("relu", 0), ("tanh", np.tanh(-2)), ("leaky_relu", -0.4)]
)
def test_an_activation_by_its_name(network, name, below):
    model = make_model(ModelConfig(network, activation=name), num_classes=2)
    assert model.activation(jnp.float32(-2)) == pytest.approx(below, rel=1e-6)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (ModelConfig("resnet20", activation="tanh"), "resnet20.*activation"),
        (ModelConfig("vgg11", groups=1), "vgg11.*groups"),  # its `groups` are its convolutions
        (ModelConfig("alexnet", shortcut="A"), "alexnet.*shortcut"),
    ],
)
def test_a_network_without_the_field_is_named(config, named):
    with pytest.raises(UserError, match=named):
        config.check()


def test_channels_that_the_groups_cannot_share_are_refused():
    model = models.AlexNet(**ALEXNET | {"width": 8})
    with pytest.raises(UserError, match=r"2 groups .* 8, 21, 32, 32, 21, .* multiple of 6"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 63, 63, 3)))


@pytest.mark.parametrize("window", [2, 3])
def test_alexnets_pools_overlap_or_lie_side_by_side(window):
    """Maps as the formula gives them, and one position left of the smallest image."""
    model = models.AlexNet(**ALEXNET, pool_window=window)
    least = 4 * ((2 * (2 * (2 * 0 + window - 1) + window - 1) + window) - 1) + 11 - 4
    images = jnp.zeros((1, least, least, 3))
    shapes = functools.partial(jax.eval_shape, functools.partial(model.init, jax.random.key(0)))
    shapes(images)
    with pytest.raises(UserError, match=f"give {least} x {least}"):
        shapes(images[:, 1:])


def test_alexnets_activation_is_everywhere():
    """Tanh is odd: without biases, minus the image gives minus the logits; ReLU's are others."""
    model = models.AlexNet(**ALEXNET, activation=jnp.tanh, pool_window=2, lrn=False)
    images = jax.random.normal(jax.random.key(1), (2, 63, 63, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    first = functools.partial(models.features, model, variables, names=("relu1", "relu6"))
    found, opposite = first(images), first(-images)
    np.testing.assert_allclose(found["relu1"], -opposite["relu1"], rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(found["relu6"]).max()) <= 1
    assert float(found["relu6"].min()) < 0
