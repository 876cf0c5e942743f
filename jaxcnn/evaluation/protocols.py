"""How the papers look at a test image: at one crop of it, at many, or at all of it.

Every function takes an image whose shorter side has been rescaled to Q and gives what the network
is shown of it. An error rate means nothing without the protocol that it was measured by: the same
VGG-16 is 28.5 % (centre crop), 28.1 % (ten crops), 27.0 % (dense) or 24.8 % (dense, three scales).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from jaxcnn.errors import UserError, unknown_name


def center(image: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The centre of the image."""
    yield _crop(image, size, 2, 2)


def ten_crop(image: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The corners and the centre of the central square, and their mirror images.

    Krizhevsky et al. 2012, section 4.1, who first cut the central 256 x 256 out of the image; also
    the 10-crop testing of He et al. 2015.
    """
    square = _crop(image, min(image.shape[:2]), 2, 2)
    yield from _mirrored(_five(square, size))


def multi_crop(image: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """A regular grid of 5 x 5 crops over the whole image, and their mirror images: 50.

    Simonyan & Zisserman 2014, section 3.2.
    """
    yield from _mirrored([_crop(image, size, i, j) for i in range(5) for j in range(5)])


def googlenet_144(image: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """36 views, 144 over four scales.

    Szegedy et al. 2014, section 7: of the left, central and right square (top, central and bottom,
    of a tall image) the four corners and the centre, and the whole square resized to the crop's
    size; and the mirror images of all six.
    """
    shorter = min(image.shape[:2])
    for place in (0, 2, 4):
        square = _crop(image, shorter, place, place)
        resized = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR)
        yield from _mirrored([*_five(square, size), resized.reshape(size, size, -1)])


def whole(image: np.ndarray, stride: int) -> np.ndarray:
    """The image for a fully convolutional network, cut centrally to multiples of its stride.

    What is cut off is what the network's poolings would leave out; nothing is padded or resized,
    and images of many shapes become images of few.
    """
    height, width = (side // stride * stride for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


CROPS: dict[str, Callable[[np.ndarray, int], Iterator[np.ndarray]]] = {
    "center": center,
    "ten_crop": ten_crop,
    "multi_crop": multi_crop,
    "googlenet_144": googlenet_144,
}
"""The protocols that show crops, by name; each takes a rescaled image and the crops' side."""


METHODS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in CROPS},
    "dense": ("dense",),
    "dense+multi_crop": ("dense", "multi_crop"),
}
"""Every protocol by name, and by what it looks at an image; ``'dense'`` is the whole of it."""


class Look(NamedTuple):
    """One way to look at an image; the answers of a protocol's looks are averaged evenly.

    Attributes:
      method: a name in ``CROPS``, or ``'dense'``.
      scale: Q, what the image's shorter side is rescaled to, in pixels.
    """

    method: str
    scale: int


def looks(protocol: str, scales: Sequence[int]) -> tuple[Look, ...]:
    """What a protocol looks at, at each of the scales.

    Raises:
      UserError: there is no such protocol.
    """
    if protocol not in METHODS:
        raise unknown_name("protocol", protocol, METHODS)
    return tuple(Look(method, scale) for method in METHODS[protocol] for scale in scales)


def usual_scales(protocol: str, scale: int, size: int) -> tuple[int, ...]:
    """The scales of a protocol that names its own, else the one that is given.

    GoogLeNet's 256, 288, 320 and 352 are for crops of 224; for others they are in proportion.

    Args:
      protocol: a name in ``METHODS``.
      scale: Q, for the protocols that leave it open.
      size: the crops' side, in pixels.
    """
    if protocol == "googlenet_144":
        return tuple(round(size * shorter / 224) for shorter in (256, 288, 320, 352))
    return (scale,)


def show(image: np.ndarray, look: Look, size: int, stride: int) -> np.ndarray:
    """What the network is shown: crops, or the whole image.

    Args:
      image: uint8, shape ``(height, width, channels)``, its shorter side rescaled to ``look.scale``
        (and padded, where the network's images are).
      look: how to look at it.
      size: the crops' side, in pixels.
      stride: the network's, in pixels.

    Returns:
      uint8, shape ``(crops, size, size, channels)``, or of three axes for the whole.

    Raises:
      UserError: the image is smaller than a crop.
    """
    if look.method == "dense":
        return whole(image, stride)
    return crops(image, look.method, size)


def crops(image: np.ndarray, protocol: str, size: int) -> np.ndarray:
    """The crops of an image by the named protocol.

    Args:
      image: uint8, shape ``(height, width, channels)``, its shorter side rescaled to Q.
      protocol: a name in ``CROPS``.
      size: the crops' side, in pixels.

    Returns:
      uint8, shape ``(crops, size, size, channels)``.

    Raises:
      UserError: there is no such protocol, or the image is smaller than a crop.
    """
    if protocol not in CROPS:
        raise unknown_name("protocol of crops", protocol, CROPS)
    shorter = min(image.shape[:2])
    if shorter < size:
        raise UserError(
            f"a scale of {shorter} pixels is too small for crops of {size}; give a larger one."
        )
    return np.stack(list(CROPS[protocol](image, size)))


def _crop(image: np.ndarray, size: int, row: int, column: int) -> np.ndarray:
    """A square at row and column, 0 to 4, of the 5 x 5 places from edge to edge."""
    top, left = (
        round((side - size) * place / 4)
        for side, place in zip(image.shape[:2], (row, column), strict=True)
    )
    return image[top : top + size, left : left + size]


def _five(image: np.ndarray, size: int) -> list[np.ndarray]:
    """The four corners and the centre."""
    return [_crop(image, size, *place) for place in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]


def _mirrored(views: list[np.ndarray]) -> list[np.ndarray]:
    """The views, and their mirror images left to right."""
    return views + [view[:, ::-1] for view in views]
