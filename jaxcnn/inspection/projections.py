"""What of an image excites a channel, projected back to pixels (Zeiler & Fergus 2013)."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn.inspection.backward import Rule, check_channels, layer_of, layer_shape
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import around_zero, as_rgb

RULES = {
    "gradient": "the gradient",
    "guided": "guided backpropagation",
    "deconvnet": "the deconvnet",
}


COLORS = "Grey is zero, black and white the 99.5th percentile of what is not zero in the picture."
"""What the colours of `projection_picture` mean."""


class Projections(NamedTuple):
    """Of n images, k channels of each.

    Attributes:
      pixels: what came back, in the units of the network's input, ``(n, k, height, width,
        channels)``.
      values: the strongest activation of each channel, ``(n, k)``.
      places: its row and column in the map, ``(n, k, 2)``; zeros in a layer after the maps.
    """

    pixels: jax.Array
    values: jax.Array
    places: jax.Array


def project(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    layer: str,
    channels: Sequence[Sequence[int]],
    *,
    rule: Rule = "deconvnet",
    whole: bool = False,
) -> Projections:
    """Projects channels of a layer back to the pixels of each image.

    Section 2.1: "we set all other activations in the layer to zero and pass the feature maps as
    input to the attached deconvnet layer". What is left is the channel's strongest activation,
    with its value; of several the first, row by row.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(n, height, width, channels)``.
      layer: its name.
      channels: of each image as many, ``(n, k)``.
      rule: how the signal goes back, see `jaxcnn.inspection.backward`.
      whole: leave the channel's whole map, not its strongest activation alone.

    Raises:
      UserError: there is no such layer, the nearest is suggested, or it has no such channel.
    """
    numbers = np.asarray(channels, np.int32).reshape(len(images), -1)
    shape = layer_shape(model, variables, images[:1], layer)
    check_channels(shape, layer, tuple(numbers.ravel().tolist()))
    return _project(model, variables, images, layer, numbers, rule, whole)


@functools.partial(jax.jit, static_argnames=("model", "layer", "rule", "whole"))
def _project(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    layer: str,
    channels: jax.Array,
    rule: Rule,
    whole: bool,
) -> Projections:
    def of_image(given: tuple[jax.Array, jax.Array]) -> Projections:
        image, channels = given
        maps, back = jax.vjp(
            lambda images: layer_of(model, variables, images, layer, rule=rule), image[None]
        )
        # A layer after the maps has one place.
        flat = maps.reshape(-1, maps.shape[-1])
        columns = maps.shape[2] if maps.ndim == 4 else 1

        def of_channel(channel: jax.Array) -> Projections:
            values = flat[:, channel]
            place = jnp.argmax(values)
            left = values if whole else jnp.where(jnp.arange(len(values)) == place, values, 0)
            signal = jnp.zeros_like(flat).at[:, channel].set(left)
            (pixels,) = back(signal.reshape(maps.shape))
            return Projections(
                pixels[0], values[place], jnp.stack([place // columns, place % columns])
            )

        return lax.map(of_channel, channels)

    return lax.map(of_image, (images, channels))


def projection_picture(signal: np.ndarray, order: str = "RGB") -> np.ndarray:
    """A signal at the network's input as a picture in which grey is zero.

    Black and white are the 99.5th percentile of the absolute values that are not zero: a few pixels
    would otherwise leave nothing to see of the others.

    Args:
      signal: ``(height, width, channels)``.
      order: of three channels, ``'RGB'`` or ``'BGR'``.
    """
    strengths = np.abs(signal[signal != 0])
    bound = float(np.quantile(strengths, 0.995)) if strengths.size else 1.0
    return around_zero(in_rgb(signal, order), bound)


def in_rgb(signal: np.ndarray, order: str) -> np.ndarray:
    """A signal at the network's input, ``(..., channels)``, its channels as red, green, blue."""
    return signal[..., ::-1] if order == "BGR" else signal


def draw_projections(
    found: Projections,
    image: np.ndarray,
    channels: Sequence[int],
    path: Path,
    *,
    title: str,
    layer: str,
    rule: Rule = "deconvnet",
    whole: bool = False,
    order: str = "RGB",
) -> None:
    """Draws the projections of several channels beside the image.

    Args:
      found: of one image.
      image: uint8, ``(height, width, channels)``.
      channels: of the projections.
      path: the PNG file, written whole or not at all.
      title: names the network, the layer and the image.
      layer: the layer's name.
      rule: by which it was projected.
      whole: whether whole maps were.
      order: of the network's channels, ``'RGB'`` or ``'BGR'``.

    Raises:
      UserError: the file cannot be written.
    """
    pixels, values = np.asarray(found.pixels[0]), np.asarray(found.values[0])
    panels = [
        Panel(projection_picture(p, order), f"{k}: {v:.3g}")
        for p, k, v in zip(pixels, channels, values, strict=True)
    ]
    what = "the whole map" if whole else "the strongest activation"
    note = (
        f"Of each channel {what} goes back to the pixels by {RULES[rule]}, all else in {layer} set "
        f"to zero. {COLORS} Below: the channel's number from 0, and its strongest activation."
    )
    columns = max(3, min(8, round((1.6 * len(panels)) ** 0.5)))
    whole_image = Section([Panel(as_rgb(image))], "image", columns=1, side=1.6)
    grid = Section(panels, f"{layer}, by {RULES[rule]}", columns, side=1.0)
    draw_grid([[whole_image, grid]], path, title=title, note=note)
