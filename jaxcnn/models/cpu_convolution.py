"""Convolutions as XLA computes them fastest on CPU, with the same numbers but for rounding.

XLA's CPU backend is fast in most convolutions, and many times slower than its own matrix products
in three (jax 0.10, two cores, GFLOP/s of about 440 in a large matrix product):

  the gradient of a kernel, where maps are large   50 to 190, as products 140 to 340
  windows of 1 x 1, forward and backward           40 to 390, as products 90 to 470
  groups, forward and backward                     20 to 85, each group by itself 250 to 440

Here these are products, and everything else is ``lax.conv_general_dilated``. Nothing but JVPs is
told to JAX: the derivative along the kernel is written as a sum of products of shifted maps, and
the transpose that JAX derives from it is the fast gradient. So the function can be differentiated
in both modes and to any order, and mapped, as the original.

A network takes it by its field: ``VGG16(conv_general_dilated=conv_general_dilated)``.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pairs = tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Positions of the output whose products are made at a time: few enough for the caches, enough for
# a product to be worth its call.
_BLOCK = 1568
# A kernel's gradient is no faster as products for fewer channels, smaller maps or larger windows.
_CHANNELS, _POSITIONS, _WINDOW = 64, 200, 9


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """Does what ``lax.conv_general_dilated`` does, for ``nn.Conv``'s field of this name.

    Only convolutions of images without dilation, in float32 or float64, are computed otherwise.

    Args:
      lhs: images, shape (batch, height, width, channels).
      rhs: a kernel, shape (height, width, channels / groups, features).
      window_strides: rows and columns from one window to the next.
      padding: a name, or the zeros before and after in height and in width.
      lhs_dilation: of the images.
      rhs_dilation: of the kernel.
      dimension_numbers: the order of the axes.
      feature_group_count: the groups of channels that a group of features each sees.
      precision: of the products.

    Returns:
      Shape (batch, rows, columns, features).
    """
    order = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    dilated = any(step != 1 for step in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    if (
        dilated
        or order != lax.conv_dimension_numbers(lhs.shape, rhs.shape, _LAYOUT)
        or lhs.dtype not in (jnp.float32, jnp.float64)
        or lhs.dtype != rhs.dtype
    ):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
        )
    strides = (window_strides[0], window_strides[1])
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, padding)
    rows, columns = ((before, after) for before, after in padding)
    groups = zip(
        jnp.split(lhs, feature_group_count, axis=-1),
        jnp.split(rhs, feature_group_count, axis=-1),
        strict=True,
    )
    outputs = [_convolve(x, kernel, strides, (rows, columns), precision) for x, kernel in groups]
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pairs, precision: Any
) -> jax.Array:
    """One group."""
    if kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        strided = x[:, :: strides[0], :: strides[1]]
        return jnp.einsum("nhwc,cf->nhwf", strided, kernel[0, 0], precision=precision)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=_LAYOUT, precision=precision
    )


@_convolve.defjvp
def _convolve_jvp(
    strides: tuple[int, int],
    padding: Pairs,
    precision: Any,
    primals: tuple[jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    y = _convolve(x, kernel, strides, padding, precision)
    along_x = _convolve(x_tangent, kernel, strides, padding, precision)
    favoured = _favours_products(kernel.shape, y.shape)
    along_kernel = (_by_products if favoured else _convolve)(
        x, kernel_tangent, strides, padding, precision
    )
    return y, along_x + along_kernel


def _favours_products(kernel: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether the gradient of a kernel is faster as products, as measured."""
    height, width, channels, _ = kernel
    window, positions = height * width, output[1] * output[2]
    return window == 1 or (channels >= _CHANNELS and positions >= _POSITIONS and window <= _WINDOW)


# What is shifted is made again in the backward pass: kept, it would be the images many times over.
@functools.partial(jax.checkpoint, static_argnums=(2, 3, 4))
def _by_products(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pairs, precision: Any
) -> jax.Array:
    """The convolution as a product for each element of the window, a block of outputs at a time."""
    height, width, channels, features = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    examples = x.shape[0]
    rows = (x.shape[1] - height) // strides[0] + 1
    columns = (x.shape[2] - width) // strides[1] + 1
    # A block is some rows of an example, or some examples.
    block_rows = _divisor(rows, _BLOCK // columns)
    block_examples = _divisor(examples, _BLOCK // (rows * columns))
    # Of the two products that the transpose could be, XLA is faster at this one.
    kernel = kernel.swapaxes(2, 3)

    @jax.checkpoint
    def block(x: jax.Array, kernel: jax.Array, start: tuple[jax.Array, jax.Array]) -> jax.Array:
        example, row = start
        seen = lax.dynamic_slice(
            x,
            (example, row * strides[0], 0, 0),
            (block_examples, (block_rows - 1) * strides[0] + height, x.shape[2], channels),
        )

        def shifted(i: int, j: int) -> jax.Array:
            last = (i + (block_rows - 1) * strides[0] + 1, j + (columns - 1) * strides[1] + 1)
            return lax.slice(
                seen, (0, i, j, 0), (block_examples, *last, channels), (1, *strides, 1)
            )

        return sum(
            (
                jnp.einsum("nhwc,fc->nhwf", shifted(i, j), kernel[i, j], precision=precision)
                for i in range(height)
                for j in range(width)
            ),
            start=jnp.zeros((), x.dtype),
        )

    starts = jnp.meshgrid(
        jnp.arange(0, examples, block_examples), jnp.arange(0, rows, block_rows), indexing="ij"
    )
    outputs = lax.map(
        lambda start: block(x, kernel, start), tuple(start.ravel() for start in starts)
    )
    return outputs.reshape(examples, rows, columns, features)


def _divisor(number: int, most: int) -> int:
    """The greatest divisor that is not greater than ``most``, or 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(most, 1))
