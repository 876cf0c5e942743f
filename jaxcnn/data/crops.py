"""How training images vary, and the views that are drawn so, before any image is decoded."""

import dataclasses
import math
from typing import Literal, get_args

import numpy as np

from jaxcnn.data.views import METHODS, Parts, View
from jaxcnn.errors import UserError, unknown_name

Crop = Literal["random", "center", "corners", "area"]
Interpolation = Literal["usual", "random"]

_ATTEMPTS = 10  # at a part of an image that fits into it, as in torchvision
_LAST = math.nextafter(1, 0)  # the last place of a crop, as a position in [0, 1)
_CORNERS = ((0.0, 0.0), (0.0, _LAST), (_LAST, 0.0), (_LAST, _LAST), (None, None))


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How training images vary, and at what scale images are evaluated.

    Attributes:
      scale_min: pixels of the shorter side that a training image is rescaled to, its shape kept
        (the S of VGG). None: `data.image_size`, less `data.padding` on both sides.
      scale_max: where larger than `scale_min`, S is drawn anew for each image at each use, from
        `scale_min` to `scale_max` uniformly (scale jittering), in pixels. None: `scale_min`.
      eval_scale: pixels of the shorter side in evaluation (VGG's Q). None: the middle of
        `scale_min` and `scale_max`.
      pad: zeros put on every side of the rescaled training image before it is cropped, in pixels
        (4 for CIFAR).
      crop: where training images are cropped: 'random'; 'center'; 'corners', in one of the four
        corners or the centre (with `flip`, the ten crops of AlexNet's testing: ZFNet's training);
        or 'area', a random part of the whole image resized to a square, whatever S is (GoogLeNet).
      area_min: with 'area', the smallest share of the image's area; the largest is 1. The share is
        uniform.
      aspect_max: with 'area', the part's largest ratio of width to height, the inverse of the
        smallest; the ratio's logarithm is uniform. Where ten such parts have not fitted into an
        image, the centre is used, as much of it as has such a ratio (as in torchvision).
      central_square: crop training images from the central square of the rescaled image alone
        (AlexNet's and ZFNet's 256 x 256).
      interpolation: how training images are resized: 'usual', bilinear where they are enlarged or
        reduced a little, else the mean over the area of each new pixel; 'random', bilinear, area,
        nearest or cubic with equal chance (GoogLeNet).
      flip: mirror every other training image, at random, left to right.
      color_shift: standard deviation of the random shift of each training image along the principal
        components of the RGB values (AlexNet's 0.1; also VGG's). 0: none.
      photometric: brightness, contrast and saturation of each training image are multiplied, in
        random order, by factors from 1 - photometric to 1 + photometric (Howard 2013, GoogLeNet;
        often 0.4). 0: none.
      mixup: each training image and its label are mixed with another's in the ratio that is drawn
        from Beta(mixup, mixup) (Zhang et al. 2018; 0.2 for ImageNet). 0: none.
      cutmix: a rectangle of each training image is replaced by another's, and as much of the label;
        the share that stays is drawn from Beta(cutmix, cutmix) (Yun et al. 2019; 1 for ImageNet).
        0: none. Given `mixup` too, each step does one of the two, with equal chance.
    """

    scale_min: int | None = None
    scale_max: int | None = None
    eval_scale: int | None = None
    pad: int = 0
    crop: Crop = "random"
    area_min: float = 0.08
    aspect_max: float = 4 / 3
    central_square: bool = False
    interpolation: Interpolation = "usual"
    flip: bool = True
    color_shift: float = 0.0
    photometric: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def check(self) -> None:
        """Raises `UserError` for a value that is wrong whatever the other groups say."""
        for field in ("scale_min", "scale_max", "eval_scale"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"augment.{field} is {value}; give 1 pixel or more, or None.")
        if self.pad < 0:
            raise UserError(f"augment.pad is {self.pad}; give 0 pixels or more.")
        for field, names in (
            ("crop", get_args(Crop)),
            ("interpolation", get_args(Interpolation)),
        ):
            if getattr(self, field) not in names:
                raise unknown_name(f"augment.{field}", getattr(self, field), names)
        if not 0 < self.area_min <= 1:
            raise UserError(f"augment.area_min is {self.area_min}; give more than 0, at most 1.")
        if not 1 <= self.aspect_max < float("inf"):
            raise UserError(f"augment.aspect_max is {self.aspect_max}; give 1 or more.")
        if not 0 <= self.photometric <= 1:
            raise UserError(f"augment.photometric is {self.photometric}; give 0 to 1.")
        for field in ("color_shift", "mixup", "cutmix"):
            value = getattr(self, field)
            if not 0 <= value < float("inf"):
                raise UserError(f"augment.{field} is {value}; give 0 or more.")
        if self.crop == "area" and (self.pad or self.central_square):
            field = "central_square" if self.central_square else "pad"
            raise UserError(
                f"augment.{field} has no place with augment.crop='area', which takes a part of the "
                "whole image; leave one of them out."
            )

    def check_crop(self, image_size: int, padding: int = 0) -> None:
        """Raises `UserError` where `image_size` pixels, `padding` and all, cannot be cropped."""
        if image_size <= 2 * padding:
            raise UserError(
                f"data.padding is {padding}, which leaves nothing of data.image_size of "
                f"{image_size}; make it less than half of that."
            )
        if padding and self.crop == "area":
            raise UserError(
                "data.padding has no place with augment.crop='area', whose parts fill the image; "
                "leave one of them out."
            )
        low, high = self.scales(image_size, padding)
        if low > high:
            raise UserError(
                f"augment.scale_min is {low} and augment.scale_max {high}; the smaller comes first."
            )
        if low + 2 * (self.pad + padding) < image_size:
            raise UserError(
                f"augment.scale_min is {low}, too small to crop data.image_size of {image_size} "
                "from; make it as large, or the image size smaller."
            )
        central = self.central_scale(image_size, padding)
        if central + 2 * padding < image_size:
            raise UserError(
                f"augment.eval_scale is {central}, too small to crop data.image_size of "
                f"{image_size} from; make it as large, or the image size smaller."
            )

    def scales(self, image_size: int, padding: int = 0) -> tuple[int, int]:
        """The smallest and the largest S, where the network takes `image_size` pixels.

        Of these, `padding` on every side are no part of the rescaled image.
        """
        low = image_size - 2 * padding if self.scale_min is None else self.scale_min
        return low, low if self.scale_max is None else self.scale_max

    def central_scale(self, image_size: int, padding: int = 0) -> int:
        """Q: as configured, or S, or the middle of the S (VGG, section 3.2)."""
        if self.eval_scale is not None:
            return self.eval_scale
        return sum(self.scales(image_size, padding)) // 2


def train_view(
    config: AugmentConfig, image_size: int, generator: np.random.Generator, *, padding: int = 0
) -> View:
    """A random view of a training image, made of the next uniform numbers of `generator`.

    The first six are drawn whatever the configuration, so that switching one kind of augmentation
    leaves the others as they were.

    Args:
      config: how the image varies.
      image_size: side of the square that is shown, in pixels.
      generator: of this image at this step.
      padding: zeros on every side of the rescaled image, besides those of the configuration.
    """
    scale, top, left, flip = generator.random(4).tolist()
    corner, method = generator.random(2).tolist()
    low, high = config.scales(image_size, padding)
    places = {
        "random": (top, left),
        "area": (top, left),
        "corners": _CORNERS[int(corner * len(_CORNERS))],
        "center": (None, None),
    }[config.crop]
    return View(
        scale=low + int(scale * (high - low + 1)),
        size=image_size,
        pad=padding + config.pad,
        top=places[0],
        left=places[1],
        flip=config.flip and flip < 0.5,
        square=config.central_square,
        method=None if config.interpolation == "usual" else METHODS[int(method * len(METHODS))],
        parts=_parts(config, generator) if config.crop == "area" else None,
    )


def _parts(config: AugmentConfig, generator: np.random.Generator) -> Parts:
    share, slant = generator.random((2, _ATTEMPTS))
    shares = config.area_min + share * (1 - config.area_min)
    aspects = config.aspect_max ** (2 * slant - 1)
    return Parts(tuple(zip(shares.tolist(), aspects.tolist(), strict=True)), config.aspect_max)


def eval_view(config: AugmentConfig, image_size: int, *, padding: int = 0) -> View:
    """The centre of an image rescaled to Q, with `padding` zeros on every side."""
    return View(scale=config.central_scale(image_size, padding), size=image_size, pad=padding)
