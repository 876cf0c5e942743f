"""The fully convolutional form of a network, ``dense=True``: whether it has one, and its grid."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

_WIDE = 256  # pixels: a multiple of the strides there are, so that no rounding matters


def has_dense_form(model: nn.Module) -> bool:
    """Whether the network can be swept over an image larger than those it was trained on."""
    return "dense" in inspect.signature(type(model).__call__).parameters


def dense_positions(
    model: nn.Module, variables: Mapping[str, Any], side: int, channels: int
) -> int:
    """Rows of the map of answers to a square image; nothing is computed.

    Args:
      model: the network.
      variables: the network's.
      side: of the image, in pixels.
      channels: of the image.

    Raises:
      UserError: the image is too small.
    """
    images = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)

    def call(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, images, dense=True)

    return jax.eval_shape(call, variables, images).shape[1]


def dense_stride(model: nn.Module, variables: Mapping[str, Any], size: int, channels: int) -> int:
    """How many pixels lie between two positions of that map.

    Args:
      model: the network.
      variables: the network's.
      size: of the images that it was trained on, in pixels.
      channels: of the images.
    """
    few, many = (dense_positions(model, variables, side, channels) for side in (size, size + _WIDE))
    return _WIDE // (many - few)
