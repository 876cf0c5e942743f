"""What was found of squares in an image, at the image's size."""

import numpy as np


def at_centres(
    values: np.ndarray, shape: tuple[int, ...], size: int, stride: int, *, background: float
) -> np.ndarray:
    """Values of squares in a picture of the image's size, each about its square's centre.

    Args:
      values: ``(rows, columns)``, or of pixels, with an axis of channels; of the squares from the
        image's corner on.
      shape: of the image.
      size: of a square, in pixels.
      stride: from one square to the next, in pixels; each value fills so many rows and columns.
      background: of what no square has its centre in.

    Returns:
      Shape ``(height, width)``, with the values' axis of channels, of their type.
    """
    height, width = shape[:2]
    picture = np.full((height, width, *values.shape[2:]), background, values.dtype)
    shift = (size - stride) // 2
    block = values.repeat(stride, axis=0).repeat(stride, axis=1)
    if shift < 0:  # the first squares' cells begin before the image
        block, shift = block[-shift:, -shift:], 0
    part = block[: height - shift, : width - shift]
    picture[shift : shift + part.shape[0], shift : shift + part.shape[1]] = part
    return picture
