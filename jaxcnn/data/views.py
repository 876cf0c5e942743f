"""The view of an image that a network is shown: rescaled, padded, cropped, flipped; all on uint8.

A `View` is a handful of numbers, drawn or central, and is made before the image is decoded: it
says how many pixels are needed. Training and evaluation then take the same road.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from jaxcnn.data.jpeg import Window

# The pipeline works on many images at once; threads within one image would only get in the way.
cv2.setNumThreads(1)

METHODS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC)
"""The ways to resize that GoogLeNet's training chooses from, with equal chance."""

LONGEST_ASPECT = 32
"""Of an image longer than so many times its width, only the middle so much is used.

Rescaled to a shorter side of 256, an image of 1 x 1000 pixels would otherwise take 200 MB.
"""


class Parts(NamedTuple):
    """Parts of an image by their area, the first of which that fits is shown (GoogLeNet).

    Attributes:
      attempts: of each part, its share of the image's area and its ratio of width to height.
      aspect_max: where none fits, the centre is shown, as much of it as is no longer than so many
        times its width, nor wider than so many times its height.
    """

    attempts: tuple[tuple[float, float], ...]
    aspect_max: float

    def cut(self, image: np.ndarray, top: float | None, left: float | None) -> np.ndarray:
        """The part of an image ``(height, width, channels)`` at a position, as a view of it."""
        height, width, _ = image.shape
        return cut(image, self.window(height, width, top, left))

    def window(self, height: int, width: int, top: float | None, left: float | None) -> Window:
        """Where the part lies in an image of so many pixels.

        The rounding, and the centre, are those of torchvision's `RandomResizedCrop`.
        """
        for share, aspect in self.attempts:
            columns = round(math.sqrt(share * height * width * aspect))
            rows = round(math.sqrt(share * height * width / aspect))
            if 0 < rows <= height and 0 < columns <= width:
                row, column = _offset(height - rows, top), _offset(width - columns, left)
                return Window(row, column, rows, columns)
        rows = min(height, max(1, round(width * self.aspect_max)))
        columns = min(width, max(1, round(height * self.aspect_max)))
        return Window((height - rows) // 2, (width - columns) // 2, rows, columns)

    def smallest(self) -> float:
        """The least that the shorter side of a part can be, as a share of the image's."""
        return min(math.sqrt(share * min(aspect, 1 / aspect)) for share, aspect in self.attempts)


class View(NamedTuple):
    """One way to look at an image.

    Attributes:
      scale: the shorter side, in pixels, that the image is rescaled to.
      size: the side of the square that is cropped from it, in pixels.
      pad: zeros put on every side before the crop, in pixels.
      top: where the crop lies among its possible rows, in [0, 1); None: at the centre.
      left: the same among the columns.
      flip: whether the crop is mirrored left to right.
      square: whether only the central square of the rescaled image is used, before `pad`.
      method: one of `METHODS`; None: the usual one, see `rescale`.
      parts: a part of the image to resize to the square, in place of rescaling, padding and
        cropping.
    """

    scale: int
    size: int
    pad: int = 0
    top: float | None = None
    left: float | None = None
    flip: bool = False
    square: bool = False
    method: int | None = None
    parts: Parts | None = None

    @property
    def shorter_side(self) -> int:
        """How many pixels an image's shorter side needs, so that nothing is shown enlarged."""
        return self.scale if self.parts is None else math.ceil(self.size / self.parts.smallest())

    @property
    def can_be_cut_first(self) -> bool:
        """Whether what is shown is a rectangle of the image, resized."""
        return not self.pad and not self.square

    def window(self, height: int, width: int) -> Window:
        """That rectangle of an image of so many pixels, to the nearest of them."""
        if self.parts is not None:
            return self.parts.window(height, width, self.top, self.left)
        top, left, height, width = _middle(height, width)
        shorter = min(height, width)
        places = []
        for side, position, start in ((height, self.top, top), (width, self.left, left)):
            rescaled = self.scale * side // shorter
            ratio = side / rescaled
            extent = max(1, round(self.size * ratio))
            first = round(_offset(rescaled - self.size, position) * ratio)
            places.append((start + min(first, side - extent), extent))
        (row, rows), (column, columns) = places
        return Window(row, column, rows, columns)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """What the view shows of an image.

        Args:
          image: uint8, shape ``(height, width, channels)``.

        Returns:
          uint8, shape ``(size, size, channels)``.
        """
        out = np.empty((self.size, self.size, image.shape[2]), np.uint8)
        self.apply_into(out, image)
        return out

    def apply_into(self, out: np.ndarray, image: np.ndarray) -> None:
        """Writes what the view shows of an image into `out`, of the shape that `apply` returns."""
        if self.parts is not None:
            self.resize_into(out, self.parts.cut(image, self.top, self.left))
            return
        image = rescale(image, self.scale, self.method)
        if self.square:
            image = _crop(image, self.scale, None, None)
        self._flip_into(out, _crop(pad(image, self.pad), self.size, self.top, self.left))

    def resize_into(self, out: np.ndarray, part: np.ndarray, *, bilinear: bool = False) -> None:
        """Writes all of a part of an image into `out`, resized to its shape and mirrored at need.

        Args:
          out: uint8, shape ``(size, size, channels)``.
          part: uint8, shape ``(rows, columns, channels)``.
          bilinear: take no mean over areas, however much it is reduced by.
        """
        method = self.method
        if method is None:
            method = cv2.INTER_LINEAR if bilinear else _usual(max(part.shape[:2]), self.size)
        if part.shape == out.shape:
            self._flip_into(out, part)
            return
        cv2.resize(part, out.shape[1::-1], dst=_plane(out), interpolation=method)
        if self.flip:
            self._flip_into(out, out)

    def _flip_into(self, out: np.ndarray, crop: np.ndarray) -> None:
        if self.flip:
            # 30 times as fast as NumPy's copy of a reversed view.
            cv2.flip(crop, 1, dst=_plane(out))
        else:
            out[...] = crop


def rescale(image: np.ndarray, shorter_side: int, method: int | None = None) -> np.ndarray:
    """Rescales an image to a given shorter side, keeping its shape.

    The longer side is ``floor(shorter_side * longer / shorter)`` pixels, as in torchvision. Of
    images more than `LONGEST_ASPECT` times as long as wide only the middle is kept.

    Args:
      image: uint8, shape ``(height, width, channels)``.
      shorter_side: pixels.
      method: one of `METHODS`. None: enlarging, and reducing by less than 1.5, is bilinear
        interpolation, whose kernel of two pixels then leaves none out; reducing by more is the mean
        over the area of each new pixel, which turns no fine structure into false coarse structure
        but takes six times as long. (ImageNet's usual 375 pixels are reduced to 256 by 1.46. A
        JPEG that is much too large was reduced in decoding.)
    """
    middle = _middle(*image.shape[:2])
    image = cut(image, middle)
    height, width = middle.rows, middle.columns
    shorter = min(height, width)
    if method is None:
        method = _usual(shorter, shorter_side)
    return resize(image, shorter_side * height // shorter, shorter_side * width // shorter, method)


def _middle(height: int, width: int) -> Window:
    """What is used of an image: all, or the middle of one longer than `LONGEST_ASPECT` times."""
    longest = LONGEST_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return Window(top, left, min(height, longest), min(width, longest))


def resize(image: np.ndarray, height: int, width: int, method: int) -> np.ndarray:
    """Resizes an image, uint8 ``(rows, columns, channels)``, by one of `METHODS`."""
    if image.shape[:2] == (height, width):
        return image
    # OpenCV drops a last axis of length 1.
    resized = cv2.resize(image, (width, height), interpolation=method)
    return resized.reshape(height, width, image.shape[2])


def _usual(before: int, after: int) -> int:
    """The method, where none is given, by which so many pixels become others."""
    return cv2.INTER_LINEAR if 2 * before < 3 * after else cv2.INTER_AREA


def cut(image: np.ndarray, window: Window) -> np.ndarray:
    """A window of an image ``(height, width, channels)``, as a view of it."""
    top, left, rows, columns = window
    return image[top : top + rows, left : left + columns]


def _plane(out: np.ndarray) -> np.ndarray:
    """What OpenCV writes to: of one channel it knows no axis."""
    return out[:, :, 0] if out.shape[2] == 1 else out


def pad(image: np.ndarray, width: int) -> np.ndarray:
    """Puts `width` zeros on each of the four sides of an image ``(height, width, channels)``."""
    return np.pad(image, ((width, width), (width, width), (0, 0))) if width else image


def _crop(image: np.ndarray, size: int, top: float | None, left: float | None) -> np.ndarray:
    row, column = (
        _offset(side - size, position)
        for side, position in zip(image.shape, (top, left), strict=False)
    )
    return image[row : row + size, column : column + size]


def _offset(room: int, position: float | None) -> int:
    """Which of the ``room + 1`` places of a crop; the centre as torchvision rounds it."""
    return round(room / 2) if position is None else int(position * (room + 1))
