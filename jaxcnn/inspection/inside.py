"""One picture of what goes on in a network that is shown an image: filters, maps, attributions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.inspection.backward import layer_of
from jaxcnn.inspection.centres import at_centres
from jaxcnn.inspection.feature_maps import feature_maps, map_layers, map_scale
from jaxcnn.inspection.filters import filter_pictures, filters
from jaxcnn.inspection.gradcam import evidence_scale, grad_cam, stretched
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.occlusion import occluded, probability_scale
from jaxcnn.inspection.projections import project, projection_picture
from jaxcnn.inspection.saliency import saliency
from jaxcnn.inspection.scores import class_label
from jaxcnn.inspection.shades import Scale, as_rgb, laid_over

_LAYERS, _PROJECTED = 3, 5
_MAPS = _FILTERS = 16
# In inches: five of the first in one row are as wide as eight of the second in the other.
_SQUARE, _SMALL, _WIDE = 2.12, 0.47, 1.396


def landmarks(names: Sequence[str], count: int) -> list[str]:
    """So many of the layers, evenly spaced, the last among them; activations, where there are any.

    Args:
      names: of layers with maps.
      count: at most so many.
    """
    kinds = ("relu", "tanh", "squash")
    active = [name for name in names if name.split("/")[-1].startswith(kinds)] or list(names)
    count = min(count, len(active))
    return [active[round((i + 1) * len(active) / count) - 1] for i in range(count)]


def draw_inside(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: jax.Array,
    image: np.ndarray,
    label: int,
    path: Path,
    *,
    title: str,
    class_names: tuple[str, ...] | None,
    fill: np.ndarray | float = 0.0,
    order: str = "RGB",
) -> tuple[str, ...]:
    """Draws filters, feature maps, projections and attributions of one image.

    Args:
      model: the network.
      variables: the network's.
      inputs: what it takes of the image, ``(1, height, width, channels)``.
      image: uint8, ``(height, width, channels)``.
      label: the class that is asked about.
      path: the PNG file, written whole or not at all.
      title: names the network and the image.
      class_names: by number; None: they are numbered.
      fill: of the square that hides a part, in the units of `inputs`.
      order: of the network's channels, ``'RGB'`` or ``'BGR'``.

    Returns:
      The layers that it shows.

    Raises:
      UserError: the file cannot be written.
    """
    names = map_layers(model, variables, inputs)
    layers, deepest = landmarks(names, _LAYERS), landmarks(names, 1)[0]
    projected = landmarks(names, _PROJECTED)
    first, kernels = filters(model, variables, inputs.shape)
    pictures = filter_pictures(kernels[..., :_FILTERS], order=order)
    rows = [
        [
            Section([Panel(as_rgb(image))], "image", columns=1, side=_SQUARE),
            Section([Panel(p) for p in pictures], f"{first}: filters", columns=4, side=_SMALL),
            *(_strongest_maps(model, variables, inputs, layer) for layer in layers),
        ],
        [_projections(model, variables, inputs, projected, order)],
    ]
    attributions, scales = _attributions(
        model, variables, inputs, image, label, deepest, fill, class_label(label, class_names)
    )
    rows[1].append(attributions)
    note = (
        f"From left to right, above: the image; the first {len(pictures)} filters (grey is zero); "
        f"of some layers the {_MAPS} maps with the strongest activations (black is zero; white, of "
        "a layer with negative outputs). Below: the strongest activation of a layer projected back "
        "to the pixels by the deconvnet (grey is zero); then what "
        f"'{class_label(label, class_names)}' depends on."
    )
    draw_grid(rows, path, title=title, note=note, scales=scales)
    return (first, *dict.fromkeys((*layers, *projected)))


def _strongest_maps(
    model: nn.Module, variables: Mapping[str, Any], inputs: jax.Array, layer: str
) -> Section:
    maps = np.asarray(feature_maps(model, variables, inputs, layer))[0]
    chosen = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:_MAPS]
    panels = [Panel(map_scale(maps[..., k], "")(maps[..., k])) for k in chosen]
    return Section(panels, f"{layer}: maps", columns=4, side=_SMALL)


def _projections(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: jax.Array,
    layers: Sequence[str],
    order: str,
) -> Section:
    panels = []
    for layer in layers:
        output = np.asarray(layer_of(model, variables, inputs, layer))
        channel = int(output.max(axis=tuple(range(output.ndim - 1))).argmax())
        found = project(model, variables, inputs, layer, [[channel]])
        picture = projection_picture(np.asarray(found.pixels[0, 0]), order)
        panels.append(Panel(picture, f"{layer}, {channel}"))
    return Section(panels, "deconvnet: layer, channel", columns=_PROJECTED, side=_WIDE)


def _attributions(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: jax.Array,
    image: np.ndarray,
    label: int,
    layer: str,
    fill: np.ndarray | float,
    name: str,
) -> tuple[Section, tuple[Scale, ...]]:
    height, width = image.shape[:2]
    pixels, classes = as_rgb(image), jnp.array([label])
    salient = np.asarray(saliency(model, variables, inputs, classes))[0]
    sensitive = Scale("inferno", 0.0, float(salient.max()), "saliency (|derivative| of the score)")
    evidence = np.asarray(grad_cam(model, variables, inputs, classes, layer))[0]
    found = evidence_scale(evidence)
    size, stride = max(1, min(height, width) // 4), max(1, min(height, width) // 32)
    hidden = occluded(
        model, variables, inputs[0], label, layer, size=size, stride=stride, fill=fill
    )
    probability = np.asarray(hidden.probability)
    sure = probability_scale(probability, name)._replace(
        meaning=f"probability of '{name}' with a part hidden"
    )
    panels = [
        Panel(sensitive(salient), "saliency"),
        Panel(laid_over(pixels, found(stretched(evidence, height, width)), 0.5), "Grad-CAM"),
        Panel(_at_places(sure(probability), pixels, size, stride), "occlusion"),
    ]
    return Section(panels, f"what '{name}' depends on", columns=3, side=_WIDE), (
        sensitive,
        found,
        sure,
    )


def _at_places(colors: np.ndarray, pixels: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Colours of a square's places over the image, which is seen around them."""
    over = at_centres(colors, pixels.shape, size, stride, background=0)
    opacity = np.full(colors.shape[:2], 0.7)
    return laid_over(pixels, over, at_centres(opacity, pixels.shape, size, stride, background=0))
