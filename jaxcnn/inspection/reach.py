"""Which part of an image a unit of a layer sees, found by going back from it."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn.inspection.backward import layer_of


def seen_by(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    layer: str,
    places: np.ndarray,
) -> np.ndarray:
    """The rectangles of an image that places of a layer see: their receptive fields within it.

    Args:
      model: the network.
      variables: the network's, of which only the shapes matter.
      images: what it takes, ``(batch, height, width, channels)``, of which only the shape matters.
      layer: its name.
      places: rows and columns of its map, ``(n, 2)``; zeros for a layer after the maps.

    Returns:
      Top, left, bottom and right, of which the last two are just outside, ``(n, 4)``.

    Raises:
      UserError: there is no such layer; the nearest is suggested.
    """
    reached = np.asarray(_reached(model, variables, images.shape[1:], layer, places)) != 0
    rectangles = []
    for mask in reached.any(axis=-1):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        rectangles.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(rectangles)


@functools.partial(jax.jit, static_argnames=("model", "layer", "shape"))
def _reached(
    model: nn.Module,
    variables: Mapping[str, Any],
    shape: tuple[int, ...],
    layer: str,
    places: jax.Array,
) -> jax.Array:
    alike = jax.tree.map(jnp.ones_like, variables)
    maps, back = jax.vjp(
        lambda images: layer_of(model, alike, images, layer, rule="reach"), jnp.ones((1, *shape))
    )

    def from_place(place: jax.Array) -> jax.Array:
        signal = jnp.ones_like(maps)
        if maps.ndim == 4:
            signal = jnp.zeros_like(maps).at[:, place[0], place[1]].set(1)
        (pixels,) = back(signal)
        return pixels[0]

    return lax.map(from_place, places)
