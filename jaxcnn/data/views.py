"""The view of an image that a network is shown: rescaled, padded, cropped, flipped; all on uint8.

A `View` is a handful of numbers, drawn or central, and is made before the image is decoded: it
says how many pixels are needed. Training and evaluation then take the same road.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

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
        """The part of an image ``(height, width, channels)`` at a position, as a view of it.

        The rounding, and the centre, are those of torchvision's `RandomResizedCrop`.
        """
        height, width, _ = image.shape
        for share, aspect in self.attempts:
            columns = round(math.sqrt(share * height * width * aspect))
            rows = round(math.sqrt(share * height * width / aspect))
            if 0 < rows <= height and 0 < columns <= width:
                row, column = _offset(height - rows, top), _offset(width - columns, left)
                return image[row : row + rows, column : column + columns]
        rows = min(height, max(1, round(width * self.aspect_max)))
        columns = min(width, max(1, round(height * self.aspect_max)))
        row, column = (height - rows) // 2, (width - columns) // 2
        return image[row : row + rows, column : column + columns]

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

    def apply(self, image: np.ndarray) -> np.ndarray:
        """What the view shows of an image.

        Args:
          image: uint8, shape ``(height, width, channels)``.

        Returns:
          uint8, shape ``(size, size, channels)``; it may share the memory of `image`.
        """
        if self.parts is not None:
            part = self.parts.cut(image, self.top, self.left)
            method = _usual(max(part.shape[:2]), self.size) if self.method is None else self.method
            crop = resize(part, self.size, self.size, method)
        else:
            image = rescale(image, self.scale, self.method)
            if self.square:
                image = _crop(image, self.scale, None, None)
            crop = _crop(pad(image, self.pad), self.size, self.top, self.left)
        return crop[:, ::-1] if self.flip else crop


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
    height, width, _ = image.shape
    shorter = min(height, width)
    longest = LONGEST_ASPECT * shorter
    if max(height, width) > longest:
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        image = image[top : top + longest, left : left + longest]
        height, width, _ = image.shape
    if method is None:
        method = _usual(shorter, shorter_side)
    return resize(image, shorter_side * height // shorter, shorter_side * width // shorter, method)


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
