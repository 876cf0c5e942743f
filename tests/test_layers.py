"""The layers, each against its definition written as plain loops."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import (
    BatchNorm,
    Dropout,
    FullyConnected,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    sliding_average_pool,
)

KEY = jax.random.key(0)


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1, 1, 7), (2, 5, 7), (6, 8, 7), (7, 9, 7), (10, 13, 7), (14, 21, 7), (12, 5, 6), (9, 4, 1)],
)
def test_adaptive_average_pool_takes_torchs_windows(height, width, size):
    x = images(2, height, width, 3)
    expected = np.zeros((2, size, size, 3))
    for i in range(size):
        for j in range(size):
            rows = slice(math.floor(i * height / size), math.ceil((i + 1) * height / size))
            columns = slice(math.floor(j * width / size), math.ceil((j + 1) * width / size))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2), dtype=np.float64)
    chex.assert_trees_all_close(adaptive_average_pool(x, size), expected, atol=1e-6, rtol=0)


def test_adaptive_average_pool_leaves_a_map_of_its_size_alone():
    x = jnp.asarray(images(1, 7, 7, 2))
    assert adaptive_average_pool(x, 7) is x


def test_sliding_average_pool_averages_every_square():
    x = images(2, 9, 8, 3)
    expected = np.zeros((2, 3, 2, 3))
    for i in range(3):
        for j in range(2):
            expected[:, i, j] = x[:, i : i + 7, j : j + 7].mean((1, 2))
    chex.assert_trees_all_close(sliding_average_pool(x, 7), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [2, 4, 96])
def test_local_response_norm_is_alexnets(channels):
    x = 30 * images(2, 3, 3, channels)
    expected = np.zeros_like(x)
    for i in range(channels):
        total = sum(x[..., j] ** 2 for j in range(max(0, i - 2), min(channels - 1, i + 2) + 1))
        expected[..., i] = x[..., i] / (2 + 1e-4 * total) ** 0.75
    chex.assert_trees_all_close(LocalResponseNorm().apply({}, x), expected, rtol=1e-5)


def test_local_response_norm_is_not_lost_in_bfloat16():
    # 2 + 1e-4 * sum is 2 in bfloat16 for every sum below 78; here the sum is 64.
    x = jnp.full((1, 1, 1, 1), 8.0, jnp.bfloat16)
    y = LocalResponseNorm(beta=10.0).apply({}, x)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 0, 0, 0]) == pytest.approx(8 / 2.0064**10, rel=0.01)


@pytest.mark.parametrize(
    ("window", "stride", "size"), [(2, 2, 8), (2, 2, 7), (3, 2, 13), (3, 2, 12), (3, 1, 5)]
)
def test_max_pool_and_its_gradient_agree_with_reduce_window(window, stride, size):
    x, pool = images(2, size, size + 1, 3), MaxPool(window, stride)
    reduce_window = functools.partial(
        nn.max_pool, window_shape=(window, window), strides=(stride, stride)
    )
    expected = reduce_window(x)
    chex.assert_trees_all_equal(pool.apply({}, x), expected)
    weights = images(*expected.shape)
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(pool.apply({}, x), weights)))(x)
    chex.assert_trees_all_close(
        gradient, jax.jit(jax.grad(lambda x: jnp.vdot(reduce_window(x), weights)))(x), atol=1e-6
    )


def test_fully_connected_sweeps_the_same_kernel_in_height_width_channel_order():
    layer, maps = FullyConnected(5, window=3), images(2, 5, 4, 6)
    variables = layer.init(KEY, maps)
    variables["params"]["bias"] = images(5)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (54, 5), "bias": (5,)}
    swept = layer.apply(variables, maps)
    assert swept.shape == (2, 3, 2, 5)
    for i in range(3):
        for j in range(2):
            window = maps[:, i : i + 3, j : j + 3].reshape(2, 54)
            chex.assert_trees_all_close(
                swept[:, i, j], layer.apply(variables, window), rtol=1e-4, atol=1e-5
            )


def test_batch_norm_keeps_torchs_constants_and_its_statistics_dtype():
    layer = BatchNorm(use_running_average=False)
    assert (layer.momentum, layer.epsilon, layer.use_fast_variance) == (0.9, 1e-5, False)
    x = 3 + images(64, 2, 2, 3)
    y, updates = layer.apply(layer.init(KEY, x), x, mutable=["batch_stats"])
    chex.assert_trees_all_close(y.mean((0, 1, 2)), np.zeros(3), atol=1e-5)
    chex.assert_trees_all_close(updates["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    chex.assert_trees_all_close(
        updates["batch_stats"]["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5
    )
    with jax.enable_x64(True):
        double = BatchNorm(use_running_average=False, dtype="float64", param_dtype="float64")
        variables = double.init(KEY, x)
        _, updates = double.apply(variables, x, mutable=["batch_stats"])
        chex.assert_trees_all_equal_dtypes(variables["batch_stats"], updates["batch_stats"])
        assert updates["batch_stats"]["var"].dtype == jnp.float64


def test_dropout_scales_what_it_keeps():
    x = jnp.ones((64, 1000))
    y = Dropout(0.2).apply({}, x, train=True, rngs={"dropout": KEY})
    assert set(np.unique(y)) == {0.0, np.float32(1.25)}
    assert float(jnp.mean(y == 0)) == pytest.approx(0.2, abs=0.01)
    chex.assert_trees_all_equal(Dropout(0.2).apply({}, x), x)
    chex.assert_trees_all_equal(Dropout(0.0).apply({}, x, train=True), x)


@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_dropout_refuses_a_rate_outside_its_range(rate):
    with pytest.raises(UserError, match="dropout must be at least 0 and less than 1"):
        Dropout(rate).apply({}, jnp.ones((1, 2)))


@pytest.mark.parametrize("shape", [(16, 50), (8, 3, 3, 5)])
def test_dropout_draws_the_mask_of_the_global_batch_under_pmap_and_on_a_mesh(shape):
    x = jnp.asarray(images(*shape))

    def drop(x, key, axis_name=None):
        return Dropout(0.5, axis_name).apply({}, x, train=True, rngs={"dropout": key})

    expected = jax.jit(drop)(x, KEY)
    devices = jax.device_count()
    assert devices == 8
    mapped = jax.pmap(
        functools.partial(drop, axis_name="batch"), axis_name="batch", in_axes=(0, None)
    )(x.reshape(devices, -1, *shape[1:]), KEY)
    chex.assert_trees_all_equal(mapped.reshape(shape), expected)

    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    chex.assert_trees_all_equal(jax.jit(drop)(jax.device_put(x, rows), KEY), expected)


@pytest.mark.parametrize(
    ("name", "convolution_std", "linear_std"),
    [
        ("glorot", math.sqrt(2 / (9 * 40 + 9 * 80)), math.sqrt(2 / (500 + 300))),
        ("vgg", 0.1, 0.1),
        ("alexnet", 0.01, 0.01),
        ("zfnet", 0.01, 0.01),
        ("lenet", 2.4 / 360 / math.sqrt(3), 2.4 / 500 / math.sqrt(3)),
        ("googlenet", math.sqrt(1 / 360), math.sqrt(1 / 500)),
        ("he", math.sqrt(2 / (9 * 40)), math.sqrt(2 / 500)),
        ("he_fan_out", math.sqrt(2 / (9 * 80)), 0.01),
    ],
)
def test_initializations_have_the_mean_and_deviation_of_their_sources(
    name, convolution_std, linear_std
):
    drawn = initialization(name)
    for draw, shape, std in (
        (drawn.convolution, (3, 3, 40, 80), convolution_std),
        (drawn.linear, (500, 300), linear_std),
    ):
        weights = np.asarray(draw(KEY, shape, jnp.float32), np.float64)
        assert weights.std() == pytest.approx(std, rel=0.02)
        assert abs(weights.mean()) < 0.02 * std
        # A uniform distribution ends at sqrt(3) deviations, a full normal one goes beyond 3.5.
        widest = np.abs(weights).max() / std
        uniform = name in ("glorot", "lenet", "googlenet")
        assert widest <= math.sqrt(3) + 1e-6 if uniform else widest > 3.5
    biases = {"alexnet": 1.0, "googlenet": 0.2}
    np.testing.assert_allclose(drawn.positive(KEY, (4,), jnp.float32), biases.get(name, 0.0))


def test_an_unknown_initialization_is_told_with_the_nearest():
    with pytest.raises(UserError, match="no initialization 'glorat'; did you mean 'glorot'"):
        initialization("glorat")
