"""Numbers as colours: every function makes pixels, uint8 ``(height, width, 3)``, of an array."""

import functools
from typing import NamedTuple

import numpy as np

WHITE, GREY = 255, 128


class Scale(NamedTuple):
    """The colours of a map of numbers, and what they mean.

    Attributes:
      colors: the name of one of matplotlib's colour maps.
      low: what has the first colour; less has, too.
      high: what has the last.
      meaning: of the numbers, in a few words with their unit.
    """

    colors: str
    low: float
    high: float
    meaning: str

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The colours of a map ``(height, width)``."""
        span = self.high - self.low or 1.0
        places = np.clip((np.asarray(numbers, np.float64) - self.low) / span, 0, 1)
        return _table(self.colors)[np.round(places * 255).astype(np.uint8)]


def around_zero(numbers: np.ndarray, bound: float | None = None) -> np.ndarray:
    """A picture in which grey is zero, black ``-bound`` or less, white ``bound`` or more.

    Args:
      numbers: shape ``(height, width)``, grey, or ``(height, width, channels)`` with 1 channel or
        with 3, which are red, green and blue.
      bound: None for the largest absolute value.
    """
    numbers = np.asarray(numbers, np.float64)
    bound = float(np.abs(numbers).max()) if bound is None else bound
    return as_rgb(np.round(np.clip(numbers / (bound or 1.0), -1, 1) * 127 + GREY).astype(np.uint8))


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Grey or coloured pixels, uint8 with or without an axis of 1 or 3 channels, as RGB."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def laid_over(pixels: np.ndarray, colors: np.ndarray, opacity: np.ndarray | float) -> np.ndarray:
    """Colours over a picture of the same size, which is greyed so as to keep them apart.

    Args:
      pixels: the picture.
      colors: those laid over it.
      opacity: 0 to 1, of all or of each pixel, ``(height, width)``.
    """
    grey = pixels.astype(np.float64).mean(axis=-1, keepdims=True)
    share = np.broadcast_to(opacity, pixels.shape[:2])[..., None]
    return np.round((1 - share) * grey + share * colors).astype(np.uint8)


@functools.cache
def _table(name: str) -> np.ndarray:
    """The 256 colours of a colour map."""
    # Not imported with this file: it is a fifth of what a command takes to start.
    from matplotlib import colormaps

    return np.round(colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
