"""From an encoded image to what a view shows of it, in its place in a batch.

No more is decoded than is shown. Exactly: the pixels are those of the whole image, decoded as
`jaxcnn.data.decode` says, whatever is left out on the way.

Fast, for training: of a JPEG, the scale is the smallest of 1/8, 1/4, 1/2 and full at which the
drawn part has as many rows and columns as are shown, and is a function of that part and the image's
size alone, so that a batch stays a function of (seed, step). What is left to reduce is reduced
bilinearly: by less than 2 along one side, where a kernel of two pixels leaves none out, and by less
than twice the part's ratio of sides along the other. A part that would be cropped from the rescaled
image is cropped first, to whole pixels, and then rescaled, and so is one at a reduced scale: an
edge moves by half a pixel at most. What is not decoded in parts (see `jaxcnn.data.jpeg`) is read
exactly.
"""

import numpy as np

from jaxcnn.data.data_config import Decode
from jaxcnn.data.decode import decode as decode_whole
from jaxcnn.data.jpeg import Choice, Window, decode_window
from jaxcnn.data.views import View

_REDUCTIONS = (8, 4, 2)


def read_view(
    data: bytes, view: View, out: np.ndarray, *, decode: Decode = "exact", name: str = "image"
) -> None:
    """Writes what a view shows of an encoded image into `out`.

    Args:
      data: the file's bytes.
      view: the view.
      out: uint8, shape ``(size, size, channels)``, contiguous.
      decode: exactly or fast.
      name: what to call the image in an error.

    Raises:
      UserError: as in `jaxcnn.data.decode.decode`; `out` is as it was.
    """
    channels = out.shape[2]
    if decode == "fast" and view.can_be_cut_first:
        part = decode_window(data, channels, lambda *size: fast_choice(view, *size))
        if part is not None:
            view.resize_into(out, part, bilinear=True)
            return
    part = decode_window(data, channels, lambda *size: exact_choice(view, *size))
    if part is None:
        image = decode_whole(data, channels, shorter_side=view.shorter_side, name=name)
        view.apply_into(out, image)
    elif view.parts is None:
        view.apply_into(out, part)
    else:
        view.resize_into(out, part)


def exact_choice(view: View, height: int, width: int) -> Choice:
    """What is decoded of a JPEG: at the scale that Pillow takes, the part, or else all of it."""
    reduction = _reduction(min(height, width) // view.shorter_side)
    height, width = -(-height // reduction), -(-width // reduction)
    if view.parts is None:
        return Window(0, 0, height, width), reduction
    return view.parts.window(height, width, view.top, view.left), reduction


def fast_choice(view: View, height: int, width: int) -> Choice:
    """The drawn part at the smallest scale that leaves `view.size` rows and columns of it."""
    window = view.window(height, width)
    reduction = _reduction(min(window.rows, window.columns) // view.size)
    top, left, bottom, right = (
        (2 * edge + reduction) // (2 * reduction)  # the nearest of the reduced image's
        for edge in (
            window.top,
            window.left,
            window.top + window.rows,
            window.left + window.columns,
        )
    )
    return Window(top, left, bottom - top, right - left), reduction


def _reduction(most: int) -> int:
    """The greatest that a JPEG can be decoded at and that is no greater than so much."""
    return next((each for each in _REDUCTIONS if each <= most), 1)
