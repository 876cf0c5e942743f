"""What a layer's channels make of an image."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.inspection.backward import check_channels, layer_of, layer_shape
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import Scale, as_rgb
from jaxcnn.models import feature_names


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def feature_maps(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, layer: str
) -> jax.Array:
    """The maps of a layer.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(batch, height, width, channels)``.
      layer: its name.

    Returns:
      Shape ``(batch, rows, columns, channels)``.

    Raises:
      UserError: there is no such layer, the nearest is suggested, or it has no maps.
    """
    maps = layer_of(model, variables, images, layer)
    check_maps(maps.shape, layer)
    return maps


def check_maps(shape: tuple[int, ...], layer: str) -> None:
    """Raises a UserError where a layer of that output has no maps."""
    if len(shape) != 4:
        raise UserError(
            f"layer '{layer}' comes after the maps: of an image it gives {shape[-1]} numbers; "
            "choose an earlier one, such as the last convolution."
        )


def map_layers(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array
) -> tuple[str, ...]:
    """The layers that have maps of more than one position, but for pools, in their order."""
    found = []
    for name in feature_names(model, images.shape):
        # Auxiliary classifiers are there in training alone.
        if name.startswith("aux") or name.split("/")[-1].startswith("pool"):
            continue
        shape = layer_shape(model, variables, images, name)
        if len(shape) == 4 and shape[1:3] != (1, 1):
            found.append(name)
    return tuple(found)


def map_scale(maps: np.ndarray, meaning: str) -> Scale:
    """One scale for maps: from zero where none is negative, else with zero in its middle."""
    if (low := float(maps.min())) >= 0:
        return Scale("inferno", 0.0, float(maps.max()), meaning)
    bound = max(-low, float(maps.max()))
    return Scale("RdBu_r", -bound, bound, meaning)


def _own(scale: Scale, one: np.ndarray) -> Scale:
    """The scale of all maps in the colours that reach to one's own largest absolute value."""
    bound = float(np.abs(one).max())
    return scale._replace(low=-bound if scale.low < 0 else 0.0, high=bound)


def draw_feature_maps(
    maps: np.ndarray,
    image: np.ndarray,
    path: Path,
    *,
    title: str,
    layer: str,
    channels: Sequence[int] | None = None,
    most: int = 64,
    each_scaled: bool = False,
) -> None:
    """Draws the maps of a layer by channel, beside the image.

    Args:
      maps: of one image, ``(rows, columns, channels)``.
      image: uint8, ``(height, width, channels)``.
      path: the PNG file, written whole or not at all.
      title: names the network, the layer and the image.
      layer: the layer's name.
      channels: those drawn; None for all.
      most: so many at most are drawn, the first ones.
      each_scaled: each channel's colours reach to its own largest value, not to that of all.

    Raises:
      UserError: there is no such channel, or the file cannot be written.
    """
    wanted = tuple(range(maps.shape[-1])) if channels is None else tuple(channels)
    check_channels(maps.shape, layer, wanted)
    drawn = wanted[:most]
    shown = [maps[..., k] for k in drawn]
    scale = map_scale(maps[..., list(drawn)], f"output of {layer}")
    scales = [_own(scale, m) if each_scaled else scale for m in shown]
    panels = [Panel(colors(m), str(k)) for colors, m, k in zip(scales, shown, drawn, strict=True)]
    left_out = "" if len(drawn) == len(wanted) else f", of which the first {len(drawn)} are drawn"
    note = (
        f"{len(wanted)} of {maps.shape[-1]} channels{left_out}, each {maps.shape[0]} x "
        f"{maps.shape[1]}, under their numbers from 0."
    )
    if each_scaled:
        note += " Each has a scale of its own, up to its largest absolute value"
        note += " (black is zero)." if scale.low == 0 else " (white is zero, red more, blue less)."
    columns = max(4, min(16, round((1.6 * len(panels)) ** 0.5)))
    grid = Section(panels, f"{layer}: channels", columns, side=0.72)
    whole = Section([Panel(as_rgb(image))], "image", columns=1, side=1.6)
    scales_shown = () if each_scaled else (scale,)
    draw_grid([[whole, grid]], path, title=title, note=note, scales=scales_shown)
