"""Pools, paddings and local response normalisation are PyTorch's at every size.

Plain loops in numpy say what each is; they are held to the outputs of PyTorch that
`make_references.py` stored, and our layers are held to them at sizes of hypothesis' choice.
"""

import functools
import math

import jax
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference_networks import references, run
from reference_weights import uniform

from jaxcnn.models.layers import (
    AveragePool,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    sliding_average_pool,
)


def windows_out(length, window, stride, padding=0, ceil=False):
    """How many windows PyTorch takes of a row (its documentation of MaxPool2d)."""
    rounded = math.ceil if ceil else math.floor
    count = rounded((length + 2 * padding - window) / stride) + 1
    if ceil and (count - 1) * stride >= length + padding:
        count -= 1  # the last would begin in the padding behind the row
    return count


def pooled(x, window, stride, padding, ceil, reduce):
    """Each window's reduction over what of it lies within the map."""
    rows, columns = (windows_out(n, window, stride, padding, ceil) for n in x.shape[1:3])
    y = np.zeros((x.shape[0], rows, columns, x.shape[3]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - padding, j * stride - padding
            part = x[:, max(top, 0) : top + window, max(left, 0) : left + window]
            y[:, i, j] = reduce(part, axis=(1, 2))
    return y


def plain_max_pool(x, window, stride, padding, ceil):
    return pooled(x, window, stride, padding, bool(ceil), np.max)


def plain_average_pool(x, window, stride):
    return pooled(x, window, stride, 0, False, np.mean)


def plain_adaptive_average_pool(x, size):
    y = np.zeros((x.shape[0], size, size, x.shape[3]))
    height, width = x.shape[1:3]
    for i in range(size):
        for j in range(size):
            rows = slice(math.floor(i * height / size), math.ceil((i + 1) * height / size))
            columns = slice(math.floor(j * width / size), math.ceil((j + 1) * width / size))
            y[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    return y


def plain_convolution(x, size, stride, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = (windows_out(n, size, stride) for n in x.shape[1:3])
    y = np.zeros((x.shape[0], rows, columns, 4))
    for i in range(rows):
        for j in range(columns):
            part = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.einsum("nhwc,hwco->no", part, kernel(size))
    return y


def kernel(size):
    return uniform(f"kernel {size}", (size, size, 3, 4)).astype(np.float64)


def tensorflows_local_response_norm(x, n, alpha, beta, k):
    """The formula in the documentation of `tf.nn.local_response_normalization`, for odd n."""
    depth_radius, y = n // 2, np.zeros_like(x)
    for d in range(x.shape[-1]):
        squares = x[..., max(d - depth_radius, 0) : d + depth_radius + 1] ** 2
        y[..., d] = x[..., d] / (k + alpha * np.sum(squares, axis=-1)) ** beta
    return y


def maps(height, width):
    return uniform(f"maps {height} {width}", (2, height, width, 3)).astype(np.float64)


def convolution(x, size, stride, padding):
    layer = nn.Conv(4, (size, size), stride, padding, use_bias=False, dtype=x.dtype)
    return layer.apply({"params": {"kernel": kernel(size)}}, x)


def local_response_norm(x, n, alpha, beta, k):
    return LocalResponseNorm(n, k, alpha, beta).apply({}, x)


PLAIN = {
    "max_pool": plain_max_pool,
    "average_pool": plain_average_pool,
    "adaptive_average_pool": plain_adaptive_average_pool,
    "convolution": plain_convolution,
}
OURS = {
    "max_pool": lambda x, *fields: MaxPool(*fields[:3], ceil=bool(fields[3])).apply({}, x),
    "average_pool": lambda x, *fields: AveragePool(*fields).apply({}, x),
    "adaptive_average_pool": adaptive_average_pool,
    "convolution": convolution,
}


def computed(layer, x, *fields):
    with jax.enable_x64(True):
        return run(lambda x: layer(x, *fields), x)


def close(ours, expected):
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", PLAIN)
def test_the_plain_loops_and_our_layers_are_pytorchs(layer):
    seen = 0
    for place, expected in references("layers").items():
        size, _, rest = place.partition("/")
        name, *fields = rest.split("/")
        if name != layer:
            continue
        x, fields = maps(*map(int, size.split("x"))), [int(field) for field in fields]
        close(PLAIN[layer](x, *fields), expected)
        close(computed(OURS[layer], x, *fields), expected)
        seen += 1
    assert seen > 15


def agree(layer, x, *fields):
    close(computed(OURS[layer], x, *fields), PLAIN[layer](x, *fields))


property_based = functools.partial(settings, deadline=None, derandomize=True, database=None)
lengths = st.integers(1, 17)


@property_based(max_examples=80)
@given(lengths, lengths, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_max_pools_at_odd_and_even_sizes(height, width, window, stride, padding, ceil):
    padding = min(padding, window // 2)  # PyTorch refuses more
    assume(min(height, width) + 2 * padding >= window)
    agree("max_pool", maps(height, width), window, stride, padding, ceil)


@property_based(max_examples=40)
@given(lengths, lengths, st.integers(1, 5), st.integers(1, 3))
def test_average_pools_at_odd_and_even_sizes(height, width, window, stride):
    assume(min(height, width) >= window)
    x = maps(height, width)
    agree("average_pool", x, window, stride)
    if stride == 1:
        close(computed(sliding_average_pool, x, window), plain_average_pool(x, window, 1))


@property_based(max_examples=40)
@given(lengths, lengths, st.integers(1, 8))
def test_adaptive_average_pools_at_odd_and_even_sizes(height, width, size):
    agree("adaptive_average_pool", maps(height, width), size)


@property_based(max_examples=40)
@given(lengths, lengths, st.sampled_from([1, 3, 5, 7, 11]), st.integers(1, 4), st.data())
def test_paddings_of_convolutions_at_odd_and_even_sizes(height, width, size, stride, data):
    padding = data.draw(st.integers(0, size // 2))
    assume(min(height, width) + 2 * padding >= size)
    agree("convolution", maps(height, width), size, stride, padding)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_local_response_norm_is_tensorflows_and_with_alpha_by_n_pytorchs(channels):
    x = 10 * uniform(f"maps of {channels} channels", (2, 3, 4, channels)).astype(np.float64)
    seen = 0
    for place, expected in references("layers").items():
        if not place.startswith(f"local_response_norm/{channels}/"):
            continue
        n, alpha, beta, k = (float(field) for field in place.split("/")[2:])
        n = int(n)
        ours = computed(local_response_norm, x, n, alpha / n, beta, k)
        close(ours, expected)
        if n % 2:
            close(ours, tensorflows_local_response_norm(x, n, alpha / n, beta, k))
        seen += 1
    assert seen == 3


@property_based(max_examples=40)
@given(
    st.integers(1, 12),
    st.sampled_from([1, 3, 5, 7]),
    st.floats(1e-4, 1.0),
    st.floats(0.25, 1.0),
    st.floats(1.0, 2.0),
)
def test_local_response_norm_is_tensorflows(channels, n, alpha, beta, k):
    x = 10 * uniform(f"maps of {channels} channels", (2, 3, 4, channels)).astype(np.float64)
    ours = computed(local_response_norm, x, n, alpha, beta, k)
    close(ours, tensorflows_local_response_norm(x, n, alpha, beta, k))
