"""What happens when a part of the image is hidden (Zeiler & Fergus 2013, section 4.2, figure 6)."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcnn.errors import UserError
from jaxcnn.inspection.backward import layer_of, layer_shape
from jaxcnn.inspection.centres import at_centres
from jaxcnn.inspection.feature_maps import check_maps
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.scores import class_label
from jaxcnn.inspection.shades import WHITE, Scale, as_rgb

# Colours of Okabe and Ito, which all people tell apart, for the answers that are most frequent.
_ANSWERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_OTHER = "#BBBBBB"


class Occlusion(NamedTuple):
    """Of each place of the square, row by row from the image's top left corner.

    Attributes:
      probability: of the class, ``(rows, columns)``.
      activation: the sum over the map of `channel`, ``(rows, columns)``.
      answer: the class that the network gives, ``(rows, columns)``.
      channel: of the layer, the one whose sum is largest when nothing is hidden, ``()``.
    """

    probability: jax.Array
    activation: jax.Array
    answer: jax.Array
    channel: jax.Array


def occluded(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: jax.Array,
    label: int,
    layer: str,
    *,
    size: int,
    stride: int = 1,
    fill: np.ndarray | float = 0.0,
    at_once: int = 32,
) -> Occlusion:
    """Slides a square over an image and asks the network at every place.

    Args:
      model: the network.
      variables: the network's.
      image: what it takes of one, shape ``(height, width, channels)``.
      label: the class whose probability is recorded.
      layer: with maps, of which the strongest is recorded.
      size: rows and columns of the square, which is always whole and within the image.
      stride: pixels from one place to the next.
      fill: what the square is filled with, a number or one for each channel, in the units of
        `image`; 0 is the mean of the training images where those were normalised.
      at_once: images that go through the network together.

    Raises:
      UserError: the square is larger than the image, or there is no such layer with maps.
    """
    least = min(image.shape[:2])
    if not 1 <= size <= least or stride < 1:
        raise UserError(
            f"a square of {size} pixels and steps of {stride} do not fit an image of {least}; give "
            f"1 to {least} and steps of 1 or more."
        )
    check_maps(layer_shape(model, variables, image[None], layer), layer)
    fills = jnp.broadcast_to(jnp.asarray(fill, image.dtype), image.shape[-1:])
    return _occluded(model, variables, image, label, layer, size, stride, fills, at_once)


def places(length: int, size: int, stride: int) -> range:
    """Where the square begins along an axis."""
    return range(0, length - size + 1, stride)


@functools.partial(jax.jit, static_argnames=("model", "layer", "size", "stride", "at_once"))
def _occluded(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: jax.Array,
    label: jax.Array,
    layer: str,
    size: int,
    stride: int,
    fill: jax.Array,
    at_once: int,
) -> Occlusion:
    tops, lefts = (jnp.array(places(length, size, stride)) for length in image.shape[:2])
    channel = layer_of(model, variables, image[None], layer)[0].sum(axis=(0, 1)).argmax()
    patch = jnp.broadcast_to(fill, (size, size, image.shape[-1]))

    def ask(place: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        hidden = lax.dynamic_update_slice(image, patch, (place[0], place[1], 0))[None]
        logits = model.apply(variables, hidden)[0]
        total = layer_of(model, variables, hidden, layer)[0, :, :, channel].sum()
        return jax.nn.softmax(logits)[label], total, logits.argmax()

    grid = jnp.stack(jnp.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    found = lax.map(ask, grid, batch_size=at_once)
    probability, activation, answer = (x.reshape(len(tops), len(lefts)) for x in found)
    return Occlusion(probability, activation, answer, channel)


def probability_scale(probability: np.ndarray, name: str) -> Scale:
    """The colours of the probabilities of a class, from the least to the greatest that there is."""
    low, high = float(probability.min()), float(probability.max())
    return Scale("viridis", low, high, f"probability of '{name}'")


def draw_occlusion(
    found: Occlusion,
    image: np.ndarray,
    path: Path,
    *,
    title: str,
    label: int,
    class_names: tuple[str, ...] | None,
    layer: str,
    size: int,
    stride: int,
    grey: int = 128,
) -> None:
    """Draws what the network answered, by the place of the square's centre.

    Args:
      found: the answers.
      image: uint8, ``(height, width, channels)``.
      path: the PNG file, written whole or not at all.
      title: names the network, the layer, the image and the class.
      label: the class.
      class_names: by number; None: they are numbered.
      layer: the layer's name.
      size: of the square, in pixels.
      stride: of its places, in pixels.
      grey: the square's level, 0 to 255.

    Raises:
      UserError: the file cannot be written.
    """
    name = class_label(label, class_names)
    probability, activation = np.asarray(found.probability), np.asarray(found.activation)
    sure = probability_scale(probability, name)
    meaning = f"sum of {layer}'s channel {int(found.channel)}"
    strong = Scale("inferno", float(activation.min()), float(activation.max()), meaning)
    example = np.array(image)
    row, column = np.unravel_index(probability.argmin(), probability.shape)
    top, left = row * stride, column * stride
    example[top : top + size, left : left + size] = grey
    answers, legend = _answers(np.asarray(found.answer), class_names)
    shown = [
        at_centres(x, image.shape, size, stride, background=WHITE)
        for x in (sure(probability), strong(activation), answers)
    ]
    panels = [
        Panel(as_rgb(image), "image"),
        Panel(as_rgb(example), f"hidden where '{name}' is least probable"),
        *(
            Panel(pixels, caption)
            for pixels, caption in zip(
                shown,
                (sure.meaning, strong.meaning, f"answer: {legend}"),
                strict=True,
            )
        ),
    ]
    note = (
        f"A square of {size} x {size} pixels was slid over the image in steps of {stride}. Colours "
        "stand where its centre was: where it hides what the network goes by, the class becomes "
        "less probable and the map weaker."
    )
    section = Section(panels, columns=5, side=1.75, lines=2)
    draw_grid([[section]], path, title=title, note=note, scales=(sure, strong))


def _answers(answers: np.ndarray, class_names: tuple[str, ...] | None) -> tuple[np.ndarray, str]:
    """The answers as colours, and what those mean."""
    from matplotlib.colors import to_rgb

    def rgb(color: str) -> np.ndarray:
        return np.round(255 * np.array(to_rgb(color))).astype(np.uint8)

    numbers, counts = np.unique(answers, return_counts=True)
    frequent = numbers[np.argsort(-counts, kind="stable")][: len(_ANSWERS)]
    pixels = np.empty((*answers.shape, 3), np.uint8)
    pixels[...] = rgb(_OTHER)
    words = ("blue", "orange", "green", "pink", "yellow", "sky blue")
    legend = []
    for number, color, word in zip(frequent, _ANSWERS, words, strict=False):
        pixels[answers == number] = rgb(color)
        legend.append(f"{word} {class_label(int(number), class_names)}")
    return pixels, ", ".join(legend)
