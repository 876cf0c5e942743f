"""What a network in its dense form answers at every place of a larger image, laid over it."""

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
from jaxcnn.inspection.centres import at_centres
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.scores import class_label
from jaxcnn.inspection.shades import Scale, as_rgb, laid_over
from jaxcnn.models.dense_form import dense_stride, has_dense_form


class ClassMap(NamedTuple):
    """The answers of the dense form to one image.

    Attributes:
      probabilities: at each position, ``(rows, columns, classes)``.
      window: rows and columns of what a position is about, in pixels: the size of the images that
        the network was trained on. (It sees somewhat more, through the convolutions' padding.)
      stride: pixels from one position to the next; the first window begins at the image's corner.
    """

    probabilities: np.ndarray
    window: int
    stride: int


def class_map(
    model: nn.Module,
    variables: Mapping[str, Any],
    image: jax.Array,
    *,
    window: int,
    step: int | None = None,
) -> ClassMap:
    """Sweeps a network over an image.

    Args:
      model: the network.
      variables: the network's.
      image: what it takes of one, shape ``(height, width, channels)``, as large as the window or
        larger.
      window: rows and columns of the images that the network was trained on.
      step: pixels from one position to the next, a divisor of the network's own stride: it is swept
        over the image shifted by 0, 1, 2, ... steps, and the answers are put between each other
        (as in Sermanet et al. 2014). None: the stride.

    Raises:
      UserError: the network has no dense form, the image is too small for it, or the step is no
        divisor.
    """
    if not has_dense_form(model):
        raise UserError(
            f"{type(model).__name__} has no dense form, which could be swept over an image; VGG, "
            "AlexNet, ZFNet, GoogLeNet and ResNet have."
        )
    stride = dense_stride(model, variables, window, image.shape[-1])
    step = stride if step is None else step
    if step < 1 or stride % step:
        raise UserError(
            f"a step of {step} pixels does not divide the network's stride of {stride}."
        )
    probabilities = np.asarray(_dense(model, variables, image, stride // step, step))
    return ClassMap(probabilities, window, step)


@functools.partial(jax.jit, static_argnames=("model", "shifts", "step"))
def _dense(
    model: nn.Module, variables: Mapping[str, Any], image: jax.Array, shifts: int, step: int
) -> jax.Array:
    """The probabilities, of images shifted so many times by so many pixels in either direction."""
    height, width = (side - (shifts - 1) * step for side in image.shape[:2])

    def ask(place: jax.Array) -> jax.Array:
        shape = (height, width, image.shape[2])
        part = lax.dynamic_slice(image, (place[0] * step, place[1] * step, 0), shape)
        return jnp.asarray(model.apply(variables, part[None], dense=True))[0]

    places = jnp.stack(jnp.meshgrid(*[jnp.arange(shifts)] * 2, indexing="ij"), axis=-1)
    logits = lax.map(ask, places.reshape(-1, 2))
    logits = logits.reshape(shifts, shifts, *logits.shape[1:])
    rows, columns, classes = logits.shape[2:]
    between = logits.transpose(2, 0, 3, 1, 4).reshape(rows * shifts, columns * shifts, classes)
    return jax.nn.softmax(between, axis=-1)


def most_probable(found: ClassMap, most: int) -> list[int]:
    """The classes that are an answer somewhere, those first whose probability reaches highest."""
    answers = np.unique(found.probabilities.argmax(axis=-1)).tolist()
    highest = found.probabilities.max(axis=(0, 1))
    return sorted(answers, key=lambda number: -highest[number])[:most]


def draw_class_map(
    found: ClassMap,
    image: np.ndarray,
    path: Path,
    *,
    title: str,
    class_names: tuple[str, ...] | None,
    classes: tuple[int, ...] = (),
    most: int = 6,
) -> None:
    """Draws the probability of some classes over the image.

    Args:
      found: the answers.
      image: uint8, ``(height, width, channels)``.
      path: the PNG file, written whole or not at all.
      title: names the network and the image.
      class_names: by number; None: they are numbered.
      classes: those drawn; none: the most probable ones.
      most: so many of those.

    Raises:
      UserError: the file cannot be written.
    """
    scale = Scale("turbo", 0.0, 1.0, "probability of the class")
    pixels = as_rgb(image)
    panels = [Panel(pixels, "image")]
    for number in classes or most_probable(found, most):
        values = found.probabilities[..., number]
        whole = at_centres(values, image.shape, found.window, found.stride, background=np.nan)
        opacity = np.where(np.isnan(whole), 0, 0.25 + 0.4 * np.nan_to_num(whole))
        over = laid_over(pixels, scale(np.nan_to_num(whole)), opacity)
        name = class_label(number, class_names)
        panels.append(Panel(over, f"{name}: up to {100 * values.max():.1f} %"))
    rows, columns = found.probabilities.shape[:2]
    note = (
        f"The network's fully convolutional form gives {rows} x {columns} answers, one to each "
        f"window of {found.window} x {found.window} pixels, {found.stride} pixels apart. A colour "
        "stands in the middle of its window; what is grey is the middle of none."
    )
    wide = image.shape[1] > 1.5 * image.shape[0]
    section = Section(panels, columns=2 if wide else 4, side=3.4 if wide else 1.75)
    draw_grid([[section]], path, title=title, note=note, scales=(scale,))
