"""Pictures in a grid under their captions, and several such grids in rows: one layout for all.

Everything is placed in inches, which are also the units of the one axes that fills the figure:
nothing is left to a layout engine, and the same pictures make the same bytes.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxcnn.errors import printable
from jaxcnn.inspection.pictures import DPI, save_figure
from jaxcnn.inspection.shades import Scale, as_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

# In inches: between panels, between sections, around everything; of a line of each kind of text.
_GAP, _BETWEEN, _MARGIN = 0.08, 0.35, 0.18
_TITLE, _NOTE, _HEADING, _CAPTION = 0.27, 0.18, 0.26, 0.15
_LEAST_WIDTH = 5.0
_SOFT = "#555555"


class Panel(NamedTuple):
    """A picture and what stands below it.

    Attributes:
      pixels: uint8, ``(height, width)``, or with an axis of 1 or 3 channels.
      caption: at most as many lines as the section gives it; too long a word is made smaller.
    """

    pixels: np.ndarray
    caption: str = ""


class Section(NamedTuple):
    """Panels in a grid of their own.

    Attributes:
      panels: from left to right and from top to bottom.
      heading: stands above them; "": there is none.
      columns: panels in a row.
      side: width and height of the square that a panel's picture fits into, in inches.
      pixels: a picture of so many rows or columns fills the square, one of fewer is smaller. None:
        each fills it.
      lines: of a caption, at most.
    """

    panels: Sequence[Panel]
    heading: str = ""
    columns: int = 8
    side: float = 1.0
    pixels: int | None = None
    lines: int = 1

    @property
    def across(self) -> int:
        """Columns that there are."""
        return max(1, min(self.columns, len(self.panels)))

    @property
    def width(self) -> float:
        """In inches."""
        return self.across * (self.side + _GAP) - _GAP

    @property
    def cell(self) -> float:
        """Height of a picture's place, in inches: the square's, or less where none is as high."""
        return max((self.size(panel)[1] for panel in self.panels), default=0.0)

    @property
    def below(self) -> float:
        """Height of a caption's place, in inches."""
        named = any(panel.caption for panel in self.panels)
        return self.lines * _CAPTION + 0.06 if named else 0.0

    @property
    def height(self) -> float:
        """In inches."""
        rows = math.ceil(len(self.panels) / self.across)
        grid = rows * (self.cell + self.below + _GAP) - _GAP
        return (_HEADING if self.heading else 0) + grid

    def size(self, panel: Panel) -> tuple[float, float]:
        """Width and height of a panel's picture, in inches."""
        height, width = panel.pixels.shape[:2]
        each = self.side / (self.pixels or max(height, width))
        return width * each, height * each


def draw_grid(
    rows: Sequence[Sequence[Section]],
    path: Path,
    *,
    title: str,
    note: str = "",
    scales: Sequence[Scale] = (),
) -> None:
    """Draws sections in rows, below a title and a note, above the scales of their colours.

    Args:
      rows: the sections of each row, from left to right.
      path: the PNG file, written whole or not at all.
      title: what it is of.
      note: what the panels and their colours mean; it is broken into lines as wide as the picture.
      scales: colours that stand for numbers, each drawn as a bar.

    Raises:
      UserError: the file cannot be written.
    """
    # Not imported with this file: it is a fifth of what a command takes to start.
    from matplotlib.figure import Figure

    widths = [sum(s.width for s in row) + _BETWEEN * (len(row) - 1) for row in rows]
    width = max(*widths, _LEAST_WIDTH, *(3.2 * len(scales),)) + 2 * _MARGIN
    titles = textwrap.wrap(title, int((width - 2 * _MARGIN) / 0.088)) or [""]
    notes = textwrap.wrap(note, int((width - 2 * _MARGIN) / 0.066))
    top = _MARGIN + len(titles) * _TITLE + len(notes) * _NOTE + (0.12 if notes else 0)
    heights = [max(section.height for section in row) for row in rows]
    height = top + sum(heights) + _BETWEEN * (len(rows) - 1) + _MARGIN
    # As it is saved: letters are as wide as whole pixels make them.
    figure = Figure(figsize=(width, height + (0.62 if scales else 0)), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(figure.get_figheight(), 0), aspect="auto")

    for number, line in enumerate(titles):
        text = _write(axes, _MARGIN, _MARGIN + number * _TITLE, line, 12.5, weight="bold")
        _shrink(text, width - 2 * _MARGIN)
    for number, line in enumerate(notes):
        down = _MARGIN + len(titles) * _TITLE + number * _NOTE
        _shrink(_write(axes, _MARGIN, down, line, 8.5, color=_SOFT), width - 2 * _MARGIN)
    for row, length, tall in zip(rows, widths, heights, strict=True):
        left = (width - length) / 2 if len(rows) == 1 or len(row) > 1 else _MARGIN
        for section in row:
            _draw_section(axes, section, left, top)
            left += section.width + _BETWEEN
        top += tall + _BETWEEN
    for number, scale in enumerate(scales):
        _draw_scale(axes, scale, width * (number + 0.5) / len(scales), height + 0.05)
    # Pictures would have set them to their own extents.
    axes.set(xlim=(0, width), ylim=(figure.get_figheight(), 0), aspect="auto")
    save_figure(figure, path)


def _draw_section(axes: "Axes", section: Section, left: float, top: float) -> None:
    if section.heading:
        heading = _write(axes, left, top, section.heading, 9.5, weight="bold")
        _shrink(heading, max(section.width, section.side))
        top += _HEADING
    for position, panel in enumerate(section.panels):
        row, column = divmod(position, section.across)
        wide, high = section.size(panel)
        middle = left + column * (section.side + _GAP) + section.side / 2
        bottom = top + row * (section.cell + section.below + _GAP) + section.cell
        place = (middle - wide / 2, middle + wide / 2, bottom, bottom - high)
        _draw_pixels(axes, panel.pixels, place)
        if panel.caption:
            caption = textwrap.wrap(
                panel.caption,
                max(8, round(section.side * 14)),
                max_lines=section.lines,
                placeholder="…",
            )
            text = _write(axes, middle, bottom + 0.05, "\n".join(caption), 7.5, align="center")
            _shrink(text, section.side)


def _draw_pixels(
    axes: "Axes", pixels: np.ndarray, place: tuple[float, float, float, float]
) -> None:
    """Draws a picture where ``place`` is: left, right, bottom and top in inches."""
    enlarged = (place[1] - place[0]) * DPI >= pixels.shape[1]
    axes.imshow(
        as_rgb(pixels),
        extent=place,
        # A small picture is shown pixel by pixel; of a large one none is left out.
        interpolation="nearest" if enlarged else "antialiased",
    )


def _draw_scale(axes: "Axes", scale: Scale, middle: float, top: float) -> None:
    """A bar of the colours with the numbers at its ends and what they mean below."""
    length = 1.8
    left = middle - length / 2
    numbers = np.linspace(scale.low, scale.high, 256)[None]
    _draw_pixels(axes, scale(numbers), (left, left + length, top + 0.14, top))
    _write(axes, left - 0.06, top - 0.01, _short(scale.low), 8, align="right")
    _write(axes, left + length + 0.06, top - 0.01, _short(scale.high), 8)
    _write(axes, middle, top + 0.2, scale.meaning, 8, align="center", color=_SOFT)


def _short(number: float) -> str:
    return f"{number:.3g}".replace("-", "−")


def _write(
    axes: "Axes",
    left: float,
    top: float,
    line: str,
    size: float,
    *,
    align: str = "left",
    weight: str = "normal",
    color: str = "black",
) -> "Text":
    return axes.text(
        left,
        top,
        printable(line),
        fontsize=size,
        ha=align,
        va="top",
        weight=weight,
        color=color,
        linespacing=1.1,
        parse_math=False,
    )


def _shrink(text: "Text", width: float) -> None:
    """Makes a text smaller that is wider than so many inches."""
    size = float(text.get_fontsize())
    while text.get_window_extent().width > width * DPI and size > 1:
        size *= 0.97
        text.set_fontsize(size)
