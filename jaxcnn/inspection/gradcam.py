"""Where a class's evidence lies in a layer's maps (Grad-CAM: Selvaraju et al. 2016)."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.inspection.backward import layer_shape
from jaxcnn.inspection.feature_maps import check_maps
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.scores import class_scores
from jaxcnn.inspection.shades import Scale, as_rgb, laid_over


def grad_cam(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    classes: jax.Array,
    layer: str,
) -> jax.Array:
    """The maps of a layer, weighted by what each is worth to a class, added up and rectified.

    A map's weight is the mean over its positions of the derivative of the class's score (the logit)
    by the map; the sum over the maps is cut off below zero.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(batch, height, width, channels)``.
      classes: integers, ``(batch,)``.
      layer: its name.

    Returns:
      Shape ``(batch, rows, columns)``, of the layer's maps.

    Raises:
      UserError: there is no such layer, the nearest is suggested, or it has no maps.
    """
    check_maps(layer_shape(model, variables, images, layer), layer)
    return _grad_cam(model, variables, images, classes, layer)


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _grad_cam(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    classes: jax.Array,
    layer: str,
) -> jax.Array:
    shape = layer_shape(model, variables, images, layer)

    def score(change: jax.Array) -> tuple[jax.Array, jax.Array]:
        kept: list[jax.Array] = []

        def changed(
            method: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            context: nn.module.InterceptorContext,
        ) -> Any:
            output = method(*args, **kwargs)
            path = "/".join(context.module.path)
            if context.method_name == "__call__" and path == layer:
                output = output + change.astype(output.dtype)
                kept.append(output)
            return output

        with nn.intercept_methods(changed):
            total = class_scores(model, variables, images, classes).sum()
        return total, kept[0]

    gradient, maps = jax.grad(score, has_aux=True)(jnp.zeros(shape))
    weights = gradient.mean(axis=(1, 2), keepdims=True)
    return nn.relu((weights * maps).sum(axis=-1))


def stretched(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map ``(rows, columns)`` at the size of an image, interpolated between positions."""
    return np.asarray(jax.image.resize(jnp.asarray(maps), (height, width), "bilinear"))


def evidence_scale(maps: np.ndarray) -> Scale:
    """The colours of a Grad-CAM."""
    return Scale("turbo", 0.0, float(maps.max()), "evidence (sum of weighted maps)")


def draw_grad_cam(
    maps: np.ndarray, image: np.ndarray, path: Path, *, title: str, name: str, layer: str
) -> None:
    """Draws a Grad-CAM beside its image and over it.

    Args:
      maps: of one image, ``(rows, columns)``.
      image: uint8, ``(height, width, channels)``.
      path: the PNG file, written whole or not at all.
      title: names the network, the layer, the image and the class.
      name: of the class.
      layer: the layer's name.

    Raises:
      UserError: the file cannot be written.
    """
    scale, pixels = evidence_scale(maps), as_rgb(image)
    over = laid_over(pixels, scale(stretched(maps, *pixels.shape[:2])), 0.5)
    panels = [
        Panel(pixels, "image"),
        Panel(scale(maps), f"{layer}: {maps.shape[0]} x {maps.shape[1]}"),
        Panel(over, "over the image"),
    ]
    note = (
        f"Where {layer} has evidence for '{name}': its maps, each weighted by the mean derivative "
        "of the class's score (logit) by the map, added up; what speaks against the class counts "
        "as zero. Over the image, interpolated between the positions."
    )
    draw_grid(
        [[Section(panels, columns=3, side=2.0)]], path, title=title, note=note, scales=(scale,)
    )
