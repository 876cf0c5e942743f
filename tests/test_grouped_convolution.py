"""Convolutions in groups over a mesh: jax's numbers, computed where the groups lie."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxcnn.training.grouped_convolution import make_grouped_convolution
from jaxcnn.training.layouts import AXIS, MODEL_AXIS, JitLayout
from jaxcnn.training.split import Split

FORM = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "window_strides": (1, 1), "padding": "SAME"}


def layout(devices, model):
    return JitLayout(tuple(jax.devices()[:devices]), Split(".*", model))


def derivatives(convolution, x, k):
    """The output, its tangent, and the gradients of a sum of its sines."""
    out, tangent = jax.jvp(convolution, (x, k), (jnp.cos(x), jnp.sin(k)))
    gradients = jax.grad(lambda x, k: jnp.sum(jnp.sin(convolution(x, k))), argnums=(0, 1))(x, k)
    return out, tangent, gradients


# The last: groups that the model axis does not divide.
@pytest.mark.parametrize(
    ("devices", "model", "groups"), [(2, 2, 2), (8, 2, 4), (8, 1, 2), (8, 4, 2)]
)
def test_it_is_jaxs_own_with_its_derivatives(devices, model, groups):
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 5, 5, 8)).astype(np.float32)
    k = random.normal(size=(3, 3, 8 // groups, 16)).astype(np.float32)
    mesh = layout(devices, model).mesh
    ours, expected = (
        jax.jit(functools.partial(derivatives, functools.partial(form, **FORM)))(x, k)
        for form in (
            functools.partial(
                make_grouped_convolution(mesh, batch=AXIS, model=MODEL_AXIS),
                feature_group_count=groups,
            ),
            functools.partial(lax.conv_general_dilated, feature_group_count=groups),
        )
    )
    chex.assert_trees_all_close(ours, expected, atol=1e-4)


class TwoConvolutions(nn.Module):
    """The second in two groups."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), name="conv1")(x))
        return nn.Conv(16, (3, 3), feature_group_count=2, name="conv2")(x)


@pytest.mark.parametrize(("devices", "model"), [(2, 2), (8, 2), (8, 1)])
def test_nothing_leaves_its_device_but_sums(devices, model):
    network, place = TwoConvolutions(), layout(devices, model)
    random = np.random.default_rng(0)
    images = random.normal(size=(8, 5, 5, 3)).astype(np.float32)
    params = network.init(jax.random.key(0), images)["params"]

    def step(params, batch):
        def loss(params):
            return jnp.mean(jnp.sin(network.apply({"params": params}, batch["image"])))

        return jax.grad(loss)(params)

    arguments = place.distribute(params), place.place({"image": images})

    def gathers(compiled):
        text = compiled.lower(*arguments).compile().as_text()
        return re.findall(r" (all-gather|all-to-all|collective-permute)\(", text)

    laid_out = place.compile(step)
    assert gathers(laid_out) == []
    # It is for this that jax's own is not used; when XLA has learnt it, it can be.
    assert gathers(jax.jit(step)) != []
    chex.assert_trees_all_close(
        place.fetch(laid_out(*arguments)), step(params, {"image": images}), atol=1e-5
    )
