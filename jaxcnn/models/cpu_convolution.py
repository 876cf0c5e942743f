"""Convolutions as XLA computes them fastest on CPU, with the same numbers but for rounding.

XLA's CPU backend comes near its own matrix products in most convolutions, if YNNPACK is kept out
(`jaxcnn.training.compiler_options`). In two it is slower (jax 0.10, two cores, GFLOP/s of about 450
in a large matrix product):

  the gradient of a 1 x 1 kernel        120 to 350, as a product 150 to 370
  the gradient of a kernel in groups    19 to 28, each group by itself 300 to 390

Here these are products and groups by themselves, and everything else is
``lax.conv_general_dilated``. JAX differentiates all of it, in both modes and to any order.

A network takes it by its field: ``VGG16(conv_general_dilated=conv_general_dilated)``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pairs = tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# XLA's own convolution asks for room for what all windows see, whether or not it fills it, and a
# process that asks for more bytes than there are ends. So many images are convolved at a time.
_ROOM = 2**31


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


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Pairs, precision: Any
) -> jax.Array:
    """One group."""
    if kernel.shape[:2] != (1, 1) or padding != ((0, 0), (0, 0)):
        height, width, channels, features = kernel.shape
        windows = (x.shape[1] // strides[0]) * (x.shape[2] // strides[1])
        # In the gradient of the images it is the features that are seen.
        seen = windows * height * width * max(channels, features) * x.dtype.itemsize
        at_once = max(1, _ROOM // max(1, seen))
        parts = [
            lax.conv_general_dilated(
                x[start : start + at_once],
                kernel,
                strides,
                padding,
                dimension_numbers=_LAYOUT,
                precision=precision,
            )
            for start in range(0, max(1, x.shape[0]), at_once)
        ]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)
    x = x[:, :: strides[0], :: strides[1]]
    *positions, channels = x.shape
    y = _product(x.reshape(-1, channels), kernel[0, 0], precision)
    return y.reshape(*positions, -1)


def _product(x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    """A product of matrices, shapes (positions, channels) and (channels, features)."""
    channels, features = kernel.shape
    if channels <= features:
        return jnp.dot(x, kernel, precision=precision)
    # The gradient of the kernel is a product too, in which XLA is up to twice as fast with the
    # fewer rows: as that of the kernel's transpose, which the barrier keeps XLA from undoing.
    transposed = lax.optimization_barrier(kernel.T)
    return lax.dot_general(x, transposed, (((1,), (1,)), ((), ())), precision=precision)
