"""How signals go back: the transpose of what is linear, and the rules for what is not."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.inspection.backward import going_back_by, layer_of
from jaxcnn.inspection.projections import project
from jaxcnn.inspection.reach import seen_by
from jaxcnn.models import VGG16, GoogLeNet, ResNet, ZFNet
from jaxcnn.models.layers import MaxPool
from tests.inspected import Linear, Small, drawn
from tests.networks import initialized

IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)


def transposed(signal, kernel):
    """What each position of a padded 3 x 3 convolution took from, by loops."""
    height, width = signal.shape[:2]
    padded = np.zeros((height + 2, width + 2, kernel.shape[2]))
    for i, j in np.ndindex(height, width):
        padded[i : i + 3, j : j + 3] += kernel @ signal[i, j]
    return padded[1:-1, 1:-1]


def unpooled(signal, before):
    """Each value at the place of the largest in its 2 x 2 window, by loops."""
    placed = np.zeros_like(before)
    for i, j, k in np.ndindex(signal.shape):
        window = before[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, k]
        row, column = np.unravel_index(window.argmax(), (2, 2))
        placed[2 * i + row, 2 * j + column, k] = signal[i, j, k]
    return placed


def test_of_one_linear_layer_it_is_the_transpose():
    model = Linear()
    variables = drawn(model)
    found = project(model, variables, IMAGES, "logits", [[0, 2], [1, 1]])
    kernel = np.asarray(variables["params"]["logits"]["kernel"])
    logits = np.asarray(model.apply(variables, IMAGES))
    for image, (index, channel) in itertools.product(range(2), enumerate((0, 2))):
        channel = channel if image == 0 else 1
        expected = (kernel[:, channel] * logits[image, channel]).reshape(8, 8, 2)
        np.testing.assert_allclose(found.pixels[image, index], expected, rtol=1e-4)
        assert found.values[image, index] == pytest.approx(logits[image, channel], rel=1e-4)


@pytest.mark.parametrize("lrn", [False, True])
def test_it_unpools_rectifies_and_filters_as_the_paper_has_it(lrn):
    model = Small(lrn=lrn)
    variables = drawn(model)
    params = jax.tree.map(np.asarray, variables["params"])
    before, _, maps = (
        np.asarray(layer_of(model, variables, IMAGES[:1], name))[0]
        for name in ("relu1", "pool1", "relu2")
    )
    largest = []
    for channel in range(5):
        place = np.unravel_index(maps[..., channel].argmax(), maps.shape[:2])
        signal = np.zeros_like(maps)
        signal[(*place, channel)] = maps[(*place, channel)]
        # Through relu2 and conv2, the normalisation as if it were not there; pool1, relu1, conv1.
        signal = transposed(np.maximum(signal, 0), params["conv2"]["kernel"])
        signal = np.maximum(unpooled(signal, before), 0)
        expected = transposed(signal, params["conv1"]["kernel"])
        found = project(model, variables, IMAGES[:1], "relu2", [[channel]])
        assert tuple(np.asarray(found.places)[0, 0]) == place
        np.testing.assert_allclose(found.pixels[0, 0], expected, atol=1e-5)
        largest.append(np.abs(expected).max())
    assert sorted(largest)[2] > 0.1  # most channels are active


def test_the_whole_map_goes_back_as_the_sum_of_its_parts_where_all_is_linear():
    model = Small()
    variables = drawn(model)
    whole = project(model, variables, IMAGES, "conv1", [[3]] * 2, whole=True).pixels[:, 0]
    maps = np.array(layer_of(model, variables, IMAGES, "conv1"))
    maps[..., :3] = 0
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    expected = np.stack([transposed(each, kernel) for each in maps])
    np.testing.assert_allclose(whole, expected, atol=1e-5)


@pytest.mark.parametrize(
    "pool", [MaxPool(), MaxPool(3, 2), MaxPool(3, 2, padding=1), MaxPool(3, 2, ceil=True)]
)
def test_switches_put_each_maximum_at_its_place(pool):
    class Pool(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            return pool.clone(name="pool", parent=self)(images)

    x = np.random.default_rng(1).permutation(100).reshape(1, 10, 10, 1).astype(np.float32)
    y, back = jax.vjp(lambda x: layer_of(Pool(), {}, x, "pool", rule="deconvnet"), x)
    for place in np.ndindex(y.shape):
        (returned,) = back(jnp.zeros_like(y).at[place].set(7.0))
        # One position, that which holds the maximum.
        assert np.argwhere(returned).tolist() == np.argwhere(x == y[place]).tolist()
        assert returned.sum() == 7


def test_a_tie_is_one_switch_in_the_leftmost_column_at_the_top():
    class Pool(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            return MaxPool(3, 3, name="pool")(images)

    x = np.array([[0, 1, 0], [0, 0, 2], [0, 2, 2]], np.float32)[None, ..., None]
    for rule, expected in (
        ("deconvnet", [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        ("guided", [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        ("gradient", [[0, 0, 0], [0, 0, 0.25], [0, 0.5, 0.25]]),
    ):
        y, back = jax.vjp(lambda x, rule=rule: layer_of(Pool(), {}, x, "pool", rule=rule), x)
        np.testing.assert_array_equal(back(jnp.ones_like(y))[0][0, ..., 0], expected)


@pytest.mark.parametrize("function", [nn.relu, jnp.tanh])
def test_each_rule_at_an_activation(function):
    model = Small(activation=function)
    variables = drawn(model)
    signal = np.random.default_rng(2).normal(size=(1, 8, 8, 4)).astype(np.float32)
    x = layer_of(model, variables, IMAGES[:1], "conv1")
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    derivative = jax.vmap(jax.grad(lambda x: function(x)))(x.ravel()).reshape(x.shape)
    expected = {
        "gradient": derivative * signal,
        "guided": derivative * np.maximum(signal, 0),
        "deconvnet": function(signal),
    }
    for rule, at_conv1 in expected.items():
        _, back = jax.vjp(
            lambda x, rule=rule: layer_of(model, variables, x, "relu1", rule=rule), IMAGES[:1]
        )
        np.testing.assert_allclose(
            back(signal)[0][0], transposed(np.asarray(at_conv1)[0], kernel), atol=1e-5
        )


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (ZFNet(width=6, hidden=(4,), pooled_size=1, num_classes=3), "relu6"),
        (ResNet(blocks=(1, 1), width=4, num_classes=3, small_images=True), "stage2/block1/relu3"),
        (GoogLeNet(width=4, num_classes=3), "inception_3b"),
    ],
)
def test_rules_change_nothing_but_what_goes_back_of_real_networks(model, layer, compile_quickly):
    variables = initialized(model, (1, 64, 64, 1))
    images = np.random.default_rng(3).normal(size=(1, 64, 64, 1)).astype(np.float32)

    @jax.jit
    def of(images):
        found = {}
        for rule in ("gradient", "guided", "deconvnet"):
            y, back = jax.vjp(
                lambda x, rule=rule: layer_of(model, variables, x, layer, rule=rule), images
            )
            found[rule] = y, back(jnp.ones_like(y))[0]
        return found

    found = of(images)
    for rule in ("guided", "deconvnet"):
        np.testing.assert_allclose(found[rule][0], found["gradient"][0], rtol=1e-5, atol=1e-6)
        assert np.isfinite(found[rule][1]).all()
        assert np.abs(found[rule][1]).max() > 0
        assert not np.allclose(found[rule][1], found["gradient"][1], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "layer", "place", "seen"),
    [
        # 3 x 3 twice; twice more after a pool; cut off by the image's edge.
        (VGG16(width=2), "relu1_2", (10, 12), (8, 10, 13, 15)),
        (VGG16(width=2), "relu2_2", (8, 8), (10, 10, 24, 24)),
        (VGG16(width=2), "relu2_2", (0, 8), (0, 10, 8, 24)),
        # 7 x 7 by 2, padded by 1; a pool of 3 by 2; 5 x 5 by 2.
        (ZFNet(width=3, pooled_size=1), "relu2", (2, 3), (15, 23, 42, 50)),
        (ZFNet(width=3, pooled_size=1, hidden=(4,)), "logits", (0, 0), (0, 0, 64, 64)),
    ],
)
def test_what_a_unit_sees(model, layer, place, seen, compile_quickly):
    variables = initialized(model, (1, 64, 64, 1))
    images = np.zeros((1, 64, 64, 1), np.float32)
    found = seen_by(model, variables, images, layer, np.array([place]))
    assert tuple(found[0].tolist()) == seen


def test_wrong_names_get_the_nearest():
    model = Small()
    variables = drawn(model)
    with pytest.raises(UserError, match="there is no feature of this network 'rellu2'; did you"):
        project(model, variables, IMAGES, "rellu2", [[0], [0]])
    with pytest.raises(UserError, match="layer 'relu2' has no channel 5; they are 0 to 4"):
        project(model, variables, IMAGES, "relu2", [[0], [5]])
    with pytest.raises(UserError, match="there is no rule 'deconv'; did you mean 'deconvnet'"):
        project(model, variables, IMAGES, "relu2", [[0], [0]], rule="deconv")
    with pytest.raises(UserError, match="there is no rule"), going_back_by("back"):
        pass
