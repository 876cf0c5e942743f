"""Which pixels a class's score depends on (Simonyan, Vedaldi & Zisserman 2013, section 3)."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.inspection.backward import Rule, going_back_by
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.projections import RULES
from jaxcnn.inspection.scores import class_scores
from jaxcnn.inspection.shades import Scale, as_rgb, laid_over


@functools.partial(jax.jit, static_argnames=("model", "rule"))
def saliency(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    classes: jax.Array,
    *,
    rule: Rule = "gradient",
) -> jax.Array:
    """The largest absolute derivative of a class's score among the channels of each pixel.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(batch, height, width, channels)``.
      classes: integers, ``(batch,)``.
      rule: how the signal goes back; the paper's is the gradient.

    Returns:
      Shape ``(batch, height, width)``: logits by units of the network's input.
    """

    def total(images: jax.Array) -> jax.Array:
        with going_back_by(rule):
            return class_scores(model, variables, images, classes).sum()

    return jnp.abs(jax.grad(total)(images)).max(axis=-1)


def draw_saliency(
    salient: np.ndarray,
    image: np.ndarray,
    path: Path,
    *,
    title: str,
    name: str,
    rule: Rule = "gradient",
) -> None:
    """Draws a saliency map beside its image and over it.

    Args:
      salient: of one image, ``(height, width)``.
      image: uint8, ``(height, width, channels)``.
      path: the PNG file, written whole or not at all.
      title: names the network, the image and the class.
      name: of the class.
      rule: how the signal went back.

    Raises:
      UserError: the file cannot be written.
    """
    scale = Scale("inferno", 0.0, float(salient.max()), "largest |derivative| of the channels")
    pixels, colors = as_rgb(image), scale(salient)
    over = laid_over(pixels, colors, 0.75 * salient / (salient.max() or 1.0))
    panels = [Panel(pixels, "image"), Panel(colors, "saliency"), Panel(over, "over the image")]
    note = (
        f"How much the score (logit) of '{name}' changes with each pixel, by {RULES[rule]}: bright "
        "where a small change of the pixel changes it most. Over the image, the brighter the less "
        "transparent."
    )
    draw_grid(
        [[Section(panels, columns=3, side=2.0)]], path, title=title, note=note, scales=(scale,)
    )
