"""Images as ``data:`` addresses, for pages that hold all they show."""

import base64
import io

import numpy as np
from PIL import Image

from jaxcnn.inspection.report.contents import Filters

_EXACT = 64  # pixels: up to that side an image is kept as it is
_LARGEST = 224  # and no larger than that where it is a photograph


def data_address(image: np.ndarray) -> str:
    """An image as a ``data:`` address: small ones and those with an alpha channel to the bit.

    Args:
      image: uint8, ``(height, width, channels)``, of 1 (grey), 3 (RGB) or 4 channels (RGBA). One
        without an alpha channel and of more than 64 pixels' side becomes a JPEG of at most 224.
    """
    picture = _picture(image)
    if picture.mode == "RGBA" or max(picture.size) <= _EXACT:
        return _address("image/png", png_of(image))
    file = io.BytesIO()
    picture.thumbnail((_LARGEST, _LARGEST))
    picture.save(file, "JPEG", quality=85)
    return _address("image/jpeg", file.getvalue())


def png_of(image: np.ndarray) -> bytes:
    """Such an image as a PNG."""
    file = io.BytesIO()
    _picture(image).save(file, "PNG", optimize=True)
    return file.getvalue()


def side_by_side(filters: Filters, *, columns: int) -> np.ndarray:
    """Filters as one image, with a clear pixel around each and a clear row between groups.

    Args:
      filters: which.
      columns: how many stand in a row.

    Returns:
      uint8, ``(height, width, 4)``: RGBA.
    """
    count, height, width, _ = filters.pictures.shape
    each = count // filters.groups
    group_height = -(-each // columns) * (height + 1) + 1
    across = min(columns, each) * (width + 1) + 1
    pixels = np.zeros((filters.groups * group_height, across, 4), np.uint8)
    for number in range(each * filters.groups):
        group, place = divmod(number, each)
        row, column = divmod(place, columns)
        top, left = group * group_height + row * (height + 1) + 1, column * (width + 1) + 1
        spot = pixels[top : top + height, left : left + width]
        spot[..., :3] = filters.pictures[number]
        spot[..., 3] = 255
    return pixels


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
