"""Features by name: the right values, at no more cost than they need, however transformed."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.errors import ScopeParamNotFoundError

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models.layers import BatchNorm

KEY = jax.random.key(0)

# Two poolings in place of five, so that little has to be compiled.
MODEL = models.VGG(
    groups=((64, (3, 3)), (128, (3, 1))),
    num_classes=5,
    width=4,
    hidden=(12, 8),
    pooled_size=2,
    norm=BatchNorm,
)


@functools.cache
def example():
    images = np.random.default_rng(0).normal(size=(2, 10, 12, 3)).astype(np.float32)
    return jax.jit(MODEL.init)(KEY, images), images


@functools.partial(jax.jit, static_argnames=("names", "train", "dense"))
def features(variables, images, names, **arguments):
    return models.features(MODEL, variables, images, names, **arguments)


def only(variables, layers):
    return {
        kind: {layer: value for layer, value in tree.items() if layer in layers}
        for kind, tree in variables.items()
    }


def test_names_are_the_papers_in_order():
    assert models.feature_names(models.VGG11LRN()) == (
        "conv1_1", "relu1_1", "norm1", "pool1",
        "conv2_1", "relu2_1", "pool2",
        "conv3_1", "relu3_1", "conv3_2", "relu3_2", "pool3",
        "conv4_1", "relu4_1", "conv4_2", "relu4_2", "pool4",
        "conv5_1", "relu5_1", "conv5_2", "relu5_2", "pool5",
        "fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "logits",
    )  # fmt: skip
    names = models.feature_names(models.VGG16BN(), (1, 32, 32, 1))
    assert names[names.index("conv3_3") :][:4] == ("conv3_3", "bn3_3", "relu3_3", "pool3")


def test_features_are_what_the_network_computes():
    variables, images = example()
    names = ("logits", "relu1_2", "bn1_2", "fc3", "relu3", "pool2")
    found = features(variables, images, names)
    logits = jax.jit(MODEL.apply)(variables, images)
    chex.assert_trees_all_close(found["logits"], logits, rtol=1e-5)
    chex.assert_trees_all_equal(found["relu1_2"], nn.relu(found["bn1_2"]))
    chex.assert_trees_all_equal(found["relu3"], nn.relu(found["fc3"]))
    assert float(found["fc3"].min()) < 0
    chex.assert_shape(found["relu1_2"], (2, 10, 12, 4))
    chex.assert_shape(found["pool2"], (2, 2, 3, 8))
    chex.assert_shape(found["fc3"], (2, 12))
    assert list(models.features(MODEL, variables, images, ("bn1_1", "conv1_1"))) == [
        "bn1_1",
        "conv1_1",
    ]
    assert list(models.features(MODEL, variables, images, "conv1_1")) == ["conv1_1"]


def test_layers_behind_the_last_one_asked_for_need_no_parameters_and_cost_nothing():
    variables, images = example()
    reached = only(variables, ("conv1_1", "bn1_1", "conv1_2", "bn1_2"))
    whole = features(variables, images, ("relu1_1", "pool1"))
    chex.assert_trees_all_equal(features(reached, images, ("relu1_1", "pool1")), whole)
    trace = jax.make_jaxpr(lambda v: models.features(MODEL, v, images, ("pool1",)))(reached)
    assert str(trace).count("conv_general_dilated[") == 2


def test_a_wrong_name_is_told_even_where_later_parameters_are_missing():
    variables, images = example()
    first = only(variables, ("conv1_1", "bn1_1"))
    for given in (variables, first):
        with pytest.raises(UserError, match="'relu2_3'; did you mean 'relu2_"):
            features(given, images, ("relu1_1", "relu2_3"))
    with pytest.raises(ScopeParamNotFoundError):
        features(first, images, ("pool2",))
    chex.assert_shape(features(first, images, ("bn1_1",))["bn1_1"], (2, 10, 12, 4))


def test_train_normalises_by_the_batch_and_drops_out():
    variables, images = example()
    images, names = 3 * images, ("bn1_1", "dropout3")
    found = features(variables, images, names, train=True, rngs={"dropout": KEY})
    evaluated = features(variables, images, names)
    chex.assert_trees_all_close(found["bn1_1"].std((0, 1, 2)), np.ones(4), rtol=1e-3)
    assert evaluated["bn1_1"].std((0, 1, 2)).min() > 2
    assert (found["dropout3"] == 0).sum() > (evaluated["dropout3"] == 0).sum()


def test_arguments_of_the_call_pass_through():
    variables, images = example()
    found = features(variables, images, ("fc3", "logits"), dense=True)
    chex.assert_shape([found["fc3"], found["logits"]], [(2, 1, 2, 12), (2, 1, 2, 5)])


def test_features_are_differentiated_in_both_modes_and_mapped():
    variables, images = example()

    def total(images):
        return models.features(MODEL, variables, images, ("relu2_1",))["relu2_1"].sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(images)
    direction = np.cos(images)
    _, slope = jax.jit(lambda x, dx: jax.jvp(total, (x,), (dx,)))(images, direction)
    chex.assert_trees_all_close(slope, np.vdot(gradient, direction), rtol=1e-3)
    each = jax.jit(jax.vmap(lambda image: total(image[None])))(images)
    chex.assert_trees_all_close(each.sum(), value, rtol=1e-5)


def test_any_network_has_features_by_path():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Dense(3, name="linear")(x))

    class Network(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            for i in (1, 2):
                images = Block(name=f"block{i}")(images)
            return nn.Dense(2, name="logits")(images)

    model, images = Network(), jnp.ones((2, 4))
    variables = model.init(KEY, images)
    assert models.feature_names(model, (2, 4)) == (
        "block1/linear", "block1", "block2/linear", "block2", "logits",
    )  # fmt: skip
    found = models.features(model, variables, images, ("block2/linear", "block1"))
    kernel = variables["params"]["block2"]["linear"]["kernel"]
    expected = found["block1"] @ kernel
    chex.assert_trees_all_close(found["block2/linear"], expected, rtol=1e-5, atol=1e-6)
