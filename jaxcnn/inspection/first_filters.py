"""The filters of a network's first convolution, the only ones that can be seen as images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import UserError


class Filters(NamedTuple):
    """Filters as images.

    Attributes:
      layer: the convolution's name.
      pixels: uint8, ``(filters, height, width, channels)``; grey is zero, and the weight that is
        largest in any of them is black or white.
      groups: the towers that the filters lie in, one after the other, as many in each.
    """

    layer: str
    pixels: np.ndarray
    groups: int = 1


def first_filters(params: Mapping[str, Any], *, channels: int, groups: int = 1) -> Filters:
    """The filters of the convolution that sees the image.

    Args:
      params: of a network.
      channels: of its images: 1 or 3.
      groups: towers, such as AlexNet's two.

    Raises:
      UserError: it has no such convolution.
    """
    for layer, kernel in sorted(_kernels(params)):
        if kernel.shape[2] == channels:
            weights = np.moveaxis(np.asarray(kernel, np.float64), -1, 0)
            largest = np.abs(weights).max() or 1.0
            pixels = np.round(127.5 + 127.5 * weights / largest).astype(np.uint8)
            return Filters(layer, pixels, groups)
    raise UserError(f"no convolution of the network takes images of {channels} channels.")


def sheet(filters: Filters, *, columns: int) -> np.ndarray:
    """Filters side by side, with a clear pixel around each and a clear row between groups.

    Args:
      filters: which.
      columns: how many stand in a row.

    Returns:
      uint8, ``(height, width, 4)``: RGBA.
    """
    count, height, width, _ = filters.pixels.shape
    each = count // filters.groups
    rows = -(-each // columns)
    across = min(columns, each)
    group_height = rows * (height + 1) + 1
    shape = (filters.groups * group_height, across * (width + 1) + 1, 4)
    pixels = np.zeros(shape, np.uint8)
    for number in range(each * filters.groups):
        group, place = divmod(number, each)
        row, column = divmod(place, columns)
        top, left = group * group_height + row * (height + 1) + 1, column * (width + 1) + 1
        spot = pixels[top : top + height, left : left + width]
        spot[..., :3] = np.broadcast_to(filters.pixels[number], (height, width, 3))
        spot[..., 3] = 255
    return pixels


def _kernels(params: Mapping[str, Any], within: str = "") -> list[tuple[str, np.ndarray]]:
    """The kernels of all convolutions, with the names of their layers."""
    found = []
    for name, value in params.items():
        if isinstance(value, Mapping):
            found += _kernels(value, f"{within}/{name}" if within else name)
        elif name == "kernel" and value.ndim == 4:
            found.append((within, value))
    return found
