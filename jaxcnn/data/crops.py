"""The view of an image that a network is shown: rescaled, padded, cropped, flipped; all on uint8.

A `View` is a handful of numbers, drawn or central, and is made before the image is decoded: its
scale says how many pixels are needed. Training and evaluation then take the same road.
"""

import dataclasses
from typing import Literal, NamedTuple

import cv2
import numpy as np

from jaxcnn.errors import UserError

# The pipeline works on many images at once; threads within one image would only get in the way.
cv2.setNumThreads(1)

LONGEST_ASPECT = 32
"""Of an image longer than so many times its width, only the middle so much is used.

Rescaled to a shorter side of 256, an image of 1 x 1000 pixels would otherwise take 200 MB.
"""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How training images vary, and at what scale images are evaluated.

    Attributes:
      scale_min: pixels of the shorter side that a training image is rescaled to, its shape kept
        (the S of VGG). None: `data.image_size`.
      scale_max: where larger than `scale_min`, S is drawn anew for each image at each use, from
        `scale_min` to `scale_max` uniformly (scale jittering), in pixels. None: `scale_min`.
      eval_scale: pixels of the shorter side in evaluation (VGG's Q). None: the middle of
        `scale_min` and `scale_max`.
      pad: zeros put on every side of the rescaled training image before it is cropped, in pixels
        (4 for CIFAR).
      crop: where training images are cropped: 'random', or 'center'.
      flip: mirror every other training image, at random, left to right.
      color_shift: standard deviation of the random shift of each training image along the principal
        components of the RGB values (AlexNet's 0.1; also VGG's). 0: none.
    """

    scale_min: int | None = None
    scale_max: int | None = None
    eval_scale: int | None = None
    pad: int = 0
    crop: Literal["random", "center"] = "random"
    flip: bool = True
    color_shift: float = 0.0

    def check(self) -> None:
        """Raises `UserError` for a value that is wrong whatever the other groups say."""
        for field in ("scale_min", "scale_max", "eval_scale"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"augment.{field} is {value}; give 1 pixel or more, or None.")
        if self.pad < 0:
            raise UserError(f"augment.pad is {self.pad}; give 0 pixels or more.")
        if not 0 <= self.color_shift < float("inf"):
            raise UserError(f"augment.color_shift is {self.color_shift}; give 0 or more.")

    def check_crop(self, image_size: int) -> None:
        """Raises `UserError` where a crop of `image_size` pixels does not fit into the images."""
        low, high = self.scales(image_size)
        if low > high:
            raise UserError(
                f"augment.scale_min is {low} and augment.scale_max {high}; the smaller comes first."
            )
        if low + 2 * self.pad < image_size:
            raise UserError(
                f"augment.scale_min is {low}, too small to crop data.image_size of {image_size} "
                "from; make it as large, or the image size smaller."
            )
        central = self.central_scale(image_size)
        if central < image_size:
            raise UserError(
                f"augment.eval_scale is {central}, too small to crop data.image_size of "
                f"{image_size} from; make it as large, or the image size smaller."
            )

    def scales(self, image_size: int) -> tuple[int, int]:
        """The smallest and the largest S, where the network takes `image_size` pixels."""
        low = image_size if self.scale_min is None else self.scale_min
        return low, low if self.scale_max is None else self.scale_max

    def central_scale(self, image_size: int) -> int:
        """Q: as configured, or S, or the middle of the S (VGG, section 3.2)."""
        return sum(self.scales(image_size)) // 2 if self.eval_scale is None else self.eval_scale


class View(NamedTuple):
    """One way to look at an image.

    Attributes:
      scale: the shorter side, in pixels, that the image is rescaled to.
      size: the side of the square that is cropped from it, in pixels.
      pad: zeros put on every side before the crop, in pixels.
      top: where the crop lies among its possible rows, in [0, 1); None: at the centre.
      left: the same among the columns.
      flip: whether the crop is mirrored left to right.
    """

    scale: int
    size: int
    pad: int = 0
    top: float | None = None
    left: float | None = None
    flip: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """What the view shows of an image.

        Args:
          image: uint8, shape ``(height, width, channels)``.

        Returns:
          uint8, shape ``(size, size, channels)``; it may share the memory of `image`.
        """
        image = pad(rescale(image, self.scale), self.pad)
        top = _offset(image.shape[0] - self.size, self.top)
        left = _offset(image.shape[1] - self.size, self.left)
        crop = image[top : top + self.size, left : left + self.size]
        return crop[:, ::-1] if self.flip else crop


def train_view(config: AugmentConfig, image_size: int, generator: np.random.Generator) -> View:
    """A random view of a training image, made of the next four uniform numbers of `generator`.

    All four are drawn whatever the configuration, so that switching one kind of augmentation
    leaves the others as they were.
    """
    scale, top, left, flip = generator.random(4).tolist()
    low, high = config.scales(image_size)
    return View(
        scale=low + int(scale * (high - low + 1)),
        size=image_size,
        pad=config.pad,
        top=top if config.crop == "random" else None,
        left=left if config.crop == "random" else None,
        flip=config.flip and flip < 0.5,
    )


def eval_view(config: AugmentConfig, image_size: int) -> View:
    """The centre of an image rescaled to Q."""
    return View(scale=config.central_scale(image_size), size=image_size)


def rescale(image: np.ndarray, shorter_side: int) -> np.ndarray:
    """Rescales an image to a given shorter side, keeping its shape.

    The longer side is ``floor(shorter_side * longer / shorter)`` pixels, as in torchvision. Of
    images more than `LONGEST_ASPECT` times as long as wide only the middle is kept.

    Enlarging, and reducing by less than 1.5, is bilinear interpolation, whose kernel of two pixels
    then leaves none out; reducing by more is the mean over the area of each new pixel, which turns
    no fine structure into false coarse structure but takes six times as long. (ImageNet's usual
    375 pixels are reduced to 256 by 1.46. A JPEG that is much too large was reduced in decoding.)

    Args:
      image: uint8, shape ``(height, width, channels)``.
      shorter_side: pixels.
    """
    height, width, channels = image.shape
    shorter = min(height, width)
    longest = LONGEST_ASPECT * shorter
    if max(height, width) > longest:
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        image = image[top : top + longest, left : left + longest]
        height, width, channels = image.shape
    if shorter == shorter_side:
        return image
    size = shorter_side * width // shorter, shorter_side * height // shorter
    method = cv2.INTER_LINEAR if 2 * shorter < 3 * shorter_side else cv2.INTER_AREA
    # OpenCV drops a last axis of length 1.
    return cv2.resize(image, size, interpolation=method).reshape(size[1], size[0], channels)


def pad(image: np.ndarray, width: int) -> np.ndarray:
    """Puts `width` zeros on each of the four sides of an image ``(height, width, channels)``."""
    return np.pad(image, ((width, width), (width, width), (0, 0))) if width else image


def _offset(room: int, position: float | None) -> int:
    """Which of the ``room + 1`` places of a crop; the centre as torchvision rounds it."""
    return round(room / 2) if position is None else int(position * (room + 1))
