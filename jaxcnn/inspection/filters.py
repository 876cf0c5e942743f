"""The filters of a convolution as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError, unknown_name
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import around_zero
from jaxcnn.models import feature_names


def filters(
    model: nn.Module,
    variables: Mapping[str, Any],
    shape: tuple[int, ...],
    layer: str | None = None,
) -> tuple[str, np.ndarray]:
    """A convolution's name and its filters.

    Args:
      model: the network.
      variables: the network's.
      shape: of images that it takes, ``(1, height, width, channels)``.
      layer: the convolution's name; None for the first.

    Returns:
      The name, and shape ``(height, width, inputs, outputs)``; where the convolution is in groups
      the inputs are those of a group.

    Raises:
      UserError: there is no such convolution; the nearest is suggested.
    """
    found = {}
    for name in feature_names(model, shape):
        node: Any = variables["params"]
        for part in name.split("/"):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        kernel = node.get("kernel") if isinstance(node, Mapping) else None
        if kernel is not None and np.ndim(kernel) == 4:
            found[name] = kernel
    layer = next(iter(found), "") if layer is None else layer
    if layer not in found:
        raise unknown_name("convolution of this network", layer, found)
    return layer, np.asarray(found[layer], np.float32)


def groups_of(model: nn.Module) -> int:
    """The towers that the filters of a network's first layer are in: 2 of AlexNet, of others 1."""
    groups = getattr(model, "groups", 1)  # of VGG, the table of its convolutions
    return groups if isinstance(groups, int) else 1


def filter_pictures(kernels: np.ndarray, *, order: str = "RGB") -> np.ndarray:
    """The filters of a first layer as pictures: grey is zero, each on a scale of its own.

    Args:
      kernels: ``(height, width, inputs, outputs)`` of 1 or 3 inputs.
      order: of three inputs, ``'RGB'`` or ``'BGR'``.

    Returns:
      uint8, ``(outputs, height, width, 3)``: 128 is zero, and the largest absolute value of a
      filter is 1 or 255.
    """
    kernels = kernels[:, :, ::-1] if order == "BGR" else kernels
    return np.stack([around_zero(kernel) for kernel in np.moveaxis(kernels, -1, 0)])


def draw_filters(
    kernels: np.ndarray,
    path: Path,
    *,
    title: str,
    groups: int = 1,
    channel: int | None = None,
    order: str = "RGB",
    columns: int | None = None,
) -> None:
    """Draws the filters of a first layer, or those of one channel of a later one.

    Args:
      kernels: ``(height, width, inputs, outputs)``.
      path: the PNG file, written whole or not at all.
      title: names the network and the layer.
      groups: parts of the outputs that are drawn side by side, such as those of AlexNet's first
        layer, which lay on two GPUs and are seen by different halves of the second.
      channel: the output whose filters are drawn, one to each of the maps that it sees. None: all
        outputs, whose inputs are the image's 1 or 3 channels.
      order: of three channels, ``'RGB'`` or ``'BGR'``.
      columns: pictures in a row of a group; None: as many as rows, or so.

    Raises:
      UserError: without a channel the inputs are not an image's, there is no such channel, or the
        file cannot be written.
    """
    height, width, inputs, outputs = kernels.shape
    size = f"{height} x {width}"
    if channel is None:
        if inputs not in (1, 3):
            raise UserError(
                f"filters of {inputs} inputs are no pictures; choose an output by --channel, and "
                "each of its inputs is drawn."
            )
        if outputs % groups:
            raise UserError(f"{outputs} filters are not {groups} groups of the same size.")
        pictures = filter_pictures(kernels, order=order)
        note = (
            f"{outputs} filters of {size}, numbered from 0. Grey is zero; each filter on a scale "
            "of its own, from minus (black) to plus (white) its largest absolute weight."
        )
        if inputs == 3:
            note += " Colours are the weights of red, green and blue."
        each = outputs // groups
        sections = [
            _section(
                pictures[first : first + each],
                range(first, first + each),
                f"group {first // each + 1}" if groups > 1 else "",
                columns,
            )
            for first in range(0, outputs, each)
        ]
    else:
        if not 0 <= channel < outputs:
            raise UserError(f"there is no channel {channel}; the {outputs} are 0 to {outputs - 1}.")
        seen = kernels[..., channel]
        bound = float(np.abs(seen).max())
        pictures = np.stack([around_zero(one, bound) for one in np.moveaxis(seen, -1, 0)])
        note = (
            f"The filter of {size} that channel {channel} has for each of the {inputs} maps that "
            f"it sees, numbered from 0. Grey is zero, black −{bound:.3g}, white {bound:.3g}."
        )
        sections = [_section(pictures, range(inputs), "", columns)]
    draw_grid([sections], path, title=title, note=note)


def _section(
    pictures: np.ndarray, numbers: Sequence[int], heading: str, columns: int | None
) -> Section:
    panels = [Panel(p, str(n)) for p, n in zip(pictures, numbers, strict=True)]
    columns = columns or max(4, round(len(panels) ** 0.5))
    return Section(panels, heading, columns, side=0.62)
