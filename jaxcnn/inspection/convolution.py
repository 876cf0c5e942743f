"""What kernel, stride and padding make of an image's size: one convolution, seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import around_zero


class Setting(NamedTuple):
    """A convolution of square windows.

    Attributes:
      kernel: rows and columns of the window.
      stride: rows and columns from one window to the next.
      padding: zeros on every side of the image, in pixels.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0

    def rows(self, size: int) -> int:
        """Rows of the output, of an image of so many: floor((size + 2p - k) / s) + 1."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def check(self, size: int) -> None:
        """Raises a UserError where this cannot convolve an image of so many rows."""
        if self.kernel < 1 or self.stride < 1 or self.padding < 0:
            raise UserError("kernels and strides must be 1 or more, paddings 0 or more.")
        if self.rows(size) < 1:
            raise UserError(
                f"a kernel of {self.kernel} does not fit an image of {size} pixels with a padding "
                f"of {self.padding}; give a smaller one."
            )


# One thing is changed at a time. Of 28 rows: 28, 26, 24; 28, 10, 6; 28, 30, 32.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "kernel": tuple(Setting(kernel=size) for size in (1, 3, 5)),
    "stride": tuple(Setting(stride=step) for step in (1, 3, 5)),
    "padding": tuple(Setting(padding=zeros) for zeros in (0, 1, 2)),
}


def convolved(image: jax.Array, setting: Setting, *, channels: int, seed: int) -> jax.Array:
    """What a convolution makes of an image, by filters drawn at random.

    Args:
      image: shape ``(height, width, channels)``.
      setting: of the convolution.
      channels: of the output.
      seed: of the filters, normal with a variance of 1 / inputs, and a bias that is 0.1 times so.

    Returns:
      Shape ``(rows, columns, channels)``.

    Raises:
      UserError: the window does not fit the image.
    """
    setting.check(min(image.shape[:2]))
    layer = nn.Conv(
        channels,
        (setting.kernel, setting.kernel),
        strides=setting.stride,
        padding=setting.padding,
        bias_init=nn.initializers.normal(0.1),
    )
    variables = layer.init(jax.random.key(seed), image[None])
    return jnp.asarray(layer.apply(variables, image[None])[0])


def draw_convolutions(
    image: np.ndarray,
    path: Path,
    *,
    name: str,
    settings: dict[str, tuple[Setting, ...]] | None = None,
    channels: int = 4,
    seed: int = 0,
) -> None:
    """Draws the output channels of one convolution after another, at one size of a pixel.

    Args:
      image: uint8, ``(height, width, channels)``; the convolutions see it in [0, 1].
      path: the PNG file, written whole or not at all.
      name: of the image.
      settings: rows of convolutions, by what differs within the row; None for `SETTINGS`.
      channels: of each output.
      seed: of the filters.

    Raises:
      UserError: a window does not fit the image, or the file cannot be written.
    """
    rows = SETTINGS if settings is None else settings
    scaled = jnp.asarray(image, jnp.float32) / 255
    largest = max(s.rows(max(image.shape[:2])) for row in rows.values() for s in row)
    sections = [
        [_section(image, scaled, s, what, channels, seed, largest) for s in row]
        for what, row in rows.items()
    ]
    sizes = "; ".join(
        f"{what} {_words([getattr(s, what) for s in row])}: "
        f"{_words([s.rows(image.shape[0]) for s in row])} rows"
        for what, row in rows.items()
    )
    note = (
        f"Of {image.shape[0]} rows, {sizes}. Each section is one convolution of random filters, "
        f"its {channels} output channels at the same size of a pixel. Grey is zero, black and "
        "white the largest absolute value of the channel."
    )
    draw_grid(sections, path, title=f"One convolution of {name}", note=note)


def _section(
    image: np.ndarray,
    scaled: jax.Array,
    setting: Setting,
    what: str,
    channels: int,
    seed: int,
    largest: int,
) -> Section:
    maps = np.asarray(convolved(scaled, setting, channels=channels, seed=seed))
    panels = [Panel(around_zero(maps[..., k]), f"channel {k}") for k in range(channels)]
    before, after = (" x ".join(map(str, x.shape[:2])) for x in (image, maps))
    heading = f"{what} {getattr(setting, what)}: {before} to {after}"
    return Section(panels, heading, columns=channels, side=0.78, pixels=largest)


def _words(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
