"""The images of a set that excite a channel most, as in figure 2 of Zeiler & Fergus 2013."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.inspection.backward import Rule, check_channels, layer_of, layer_shape
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.projections import COLORS, RULES, project, projection_picture
from jaxcnn.inspection.reach import seen_by
from jaxcnn.inspection.shades import WHITE, as_rgb


class Strongest(NamedTuple):
    """Of k channels, the n images that excite each most, the strongest first.

    Attributes:
      images: their numbers in the set, ``(k, n)``.
      values: the strongest activation of the channel in them, ``(k, n)``.
      places: its row and column in the map, ``(k, n, 2)``; zeros in a layer after the maps.
    """

    images: np.ndarray
    values: np.ndarray
    places: np.ndarray


def strongest(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[np.ndarray],
    layer: str,
    channels: Sequence[int],
    *,
    count: int = 9,
) -> Strongest:
    """Looks through a set of images for the strongest activations of channels.

    An image counts once, by its strongest activation; of two that are equal, the earlier image
    comes first, and in an image the first place, row by row.

    Args:
      model: the network.
      variables: the network's.
      batches: what it takes, shape ``(batch, height, width, channels)`` each.
      layer: its name.
      channels: their numbers.
      count: images of each channel; fewer where the set has fewer.

    Raises:
      UserError: there is no such layer, the nearest is suggested, or it has no such channel.
    """
    numbers = np.asarray(tuple(channels), np.int32)
    best: tuple[np.ndarray, ...] | None = None
    first = 0
    for batch in batches:
        if best is None:
            shape = layer_shape(model, variables, jnp.asarray(batch[:1]), layer)
            check_channels(shape, layer, tuple(numbers.tolist()))
        values, places = (np.asarray(x) for x in _peaks(model, variables, batch, layer, numbers))
        new = (
            np.arange(first, first + len(batch))[:, None].repeat(len(numbers), 1),
            values,
            places,
        )
        first += len(batch)
        all_of = new if best is None else tuple(map(np.concatenate, zip(best, new, strict=True)))
        order = np.argsort(-all_of[1], axis=0, kind="stable")[:count]
        best = tuple(
            np.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=0)
            for x in all_of
        )
    if best is None:
        raise ValueError("there are no images")
    return Strongest(*(np.swapaxes(x, 0, 1) for x in best))


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _peaks(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    layer: str,
    channels: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The strongest activations ``(batch, k)`` and their places ``(batch, k, 2)``."""
    maps = layer_of(model, variables, images, layer)
    columns = maps.shape[2] if maps.ndim == 4 else 1
    flat = maps.reshape(len(images), -1, maps.shape[-1])[..., channels]
    place = jnp.argmax(flat, axis=1)
    values = jnp.take_along_axis(flat, place[:, None], axis=1)[:, 0]
    return values, jnp.stack([place // columns, place % columns], axis=-1)


class Patches(NamedTuple):
    """What of an image a unit sees, and what of that excites it.

    Attributes:
      pixels: of the image, uint8, ``(height, width, 3)``; white beyond its edge.
      projection: signals, ``(height, width, channels)``; zero beyond the image's edge.
    """

    pixels: np.ndarray
    projection: np.ndarray


def patches(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: jax.Array,
    pixels: np.ndarray,
    layer: str,
    channel: int,
    places: np.ndarray,
    *,
    rule: Rule = "deconvnet",
) -> list[Patches]:
    """The parts of images that a channel's strongest units see, with their projections.

    Args:
      model: the network.
      variables: the network's.
      inputs: what it takes of the images, ``(n, height, width, channels)``.
      pixels: the images, uint8, ``(n, height, width, channels)``.
      layer: its name.
      channel: its number.
      places: of the units in its map, ``(n, 2)``.
      rule: how the signal goes back.

    Returns:
      Of each image; all of one size, that of the largest.
    """
    signals = project(model, variables, inputs, layer, [[channel]] * len(inputs), rule=rule)
    rectangles = seen_by(model, variables, inputs, layer, places)
    height, width = (rectangles[:, 2:] - rectangles[:, :2]).max(axis=0)
    found = []
    for index, (top, left, bottom, right) in enumerate(rectangles):
        # An edge of the image cuts the rectangle off; what is missing is put back on that side.
        above = height - (bottom - top) if top == 0 else 0
        before = width - (right - left) if left == 0 else 0
        margins = (
            (above, height - (bottom - top) - above),
            (before, width - (right - left) - before),
            (0, 0),
        )
        part = np.s_[top:bottom, left:right]
        found.append(
            Patches(
                np.pad(as_rgb(pixels[index])[part], margins, constant_values=WHITE),
                np.pad(np.asarray(signals.pixels[index, 0])[part], margins),
            )
        )
    return found


def draw_strongest(
    rows: Mapping[int, Sequence[Patches]],
    values: np.ndarray,
    path: Path,
    *,
    title: str,
    layer: str,
    rule: Rule = "deconvnet",
    order: str = "RGB",
) -> None:
    """Draws, for each channel, projections beside the patches that they are of.

    Args:
      rows: patches, by channel.
      values: the activations, ``(channels, patches)``.
      path: the PNG file, written whole or not at all.
      title: names the network, the layer and the images.
      layer: the layer's name.
      rule: by which they were projected.
      order: of the network's channels, ``'RGB'`` or ``'BGR'``.

    Raises:
      UserError: the file cannot be written.
    """
    sections = []
    for (channel, parts), strengths in zip(rows.items(), values, strict=True):
        projections = [
            Panel(projection_picture(part.projection, order), f"{value:.3g}")
            for part, value in zip(parts, strengths, strict=True)
        ]
        seen = [Panel(part.pixels, f"{v:.3g}") for part, v in zip(parts, strengths, strict=True)]
        headings = f"{layer}, channel {channel}: {RULES[rule]}", "what the unit sees"
        sections += [
            Section(panels, heading, columns=3, side=0.8)
            for panels, heading in zip((projections, seen), headings, strict=True)
        ]
    # Four sections, two channels, beside each other.
    lines = [sections[i : i + 4] for i in range(0, len(sections), 4)]
    count = max(map(len, rows.values()))
    note = (
        f"The {count} images that excite the channel most, with its activation: on the left, what "
        f"goes back from that unit to the pixels by {RULES[rule]}; on the right, its receptive "
        f"field in the image. {COLORS}"
    )
    draw_grid(lines, path, title=title, note=note)
