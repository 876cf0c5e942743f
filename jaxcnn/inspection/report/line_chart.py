"""The geometry of a line chart: where its lines, ticks and marks lie in a drawing of fixed size.

A template turns it into SVG, so that what is written in it is escaped where all else is.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 400, 250
"""The drawing's size, in its own units, of which the text is 12 high."""

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 36  # around the lines: room for the ticks' labels
_MOST_POINTS = 300  # of a line; more could not be told apart
_MOST_MARKS = 60
_WIDE = 50  # a range of that many times is drawn by its logarithm
_MOST_TICKS = 7


class Series(NamedTuple):
    """One line.

    Attributes:
      label: what it is called.
      color: of CSS.
      style: ``'solid'`` and ``'dashed'`` with marks where points are few, ``'plain'``,
        ``'dotted'`` or ``'faint'``.
      points: epoch and value of each; what is not a number leaves a gap.
    """

    label: str
    color: str
    style: str
    points: Sequence[tuple[float, float]]


class Tick(NamedTuple):
    """A place on an axis, in units of the drawing, and what stands there."""

    at: float
    label: str


class Mark(NamedTuple):
    """A point that answers to a pointer: its place, and what is said there."""

    x: float
    y: float
    words: str


class Line(NamedTuple):
    """A line as it is drawn; ``path`` is the ``d`` of an SVG path, ``dots`` the lone points."""

    label: str
    color: str
    style: str
    path: str
    dots: tuple[tuple[float, float], ...]
    marks: tuple[Mark, ...]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart over the epochs.

    Attributes:
      title: what is shown.
      quantity: the values' unit, or what they are.
      across: the ticks of the epochs.
      up: the ticks of the values.
      lines: the last one lies on top.
      words: what the chart shows, for those who do not see it.
    """

    title: str
    quantity: str
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    lines: tuple[Line, ...]
    words: str


def line_chart(
    title: str,
    quantity: str,
    series: Iterable[Series],
    *,
    most: float = math.inf,
    widest: float = math.inf,
) -> Chart | None:
    """A chart of some series; None where none of them has a number.

    Values that are all positive and span a wide range lie on a logarithmic axis.

    Args:
      title: what is shown.
      quantity: the values' unit, or what they are.
      series: the last one lies on top.
      most: the largest value that there can be, such as 100 %.
      widest: times of the lowest value, beyond which the axis is no logarithm: what goes to zero
        has no lowest one. 0: it never is.
    """
    drawn = [s for s in series if any(_is_number(point) for point in s.points)]
    numbers = [point for s in drawn for point in s.points if _is_number(point)]
    if not numbers:
        return None
    epochs, values = zip(*numbers, strict=True)
    lowest, highest = min(values), max(values)
    logarithmic = 0 < _WIDE * lowest < highest < widest * lowest
    up = _decades(lowest, highest) if logarithmic else _steps(values, most)
    along = _steps((0.0, max(*epochs, 1e-9)))
    bottom, top = up[0], up[-1]
    if len(up) > _MOST_TICKS and logarithmic:
        powers = [value for value in up if f"{value:e}".startswith("1.0")]
        up = powers[:: math.ceil(len(powers) / _MOST_TICKS)]

    def x(epoch: float) -> float:
        # Up to the last epoch, whatever the last tick is.
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / max(*epochs, 1e-9)

    def y(value: float) -> float:
        low, high, here = (
            map(math.log, (bottom, top, value)) if logarithmic else (bottom, top, value)
        )
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (here - low) / (high - low)

    lines = []
    for s in drawn:
        pieces = [
            [(round(x(epoch), 1), round(y(value), 1)) for epoch, value in piece]
            for piece in _pieces(_thinned(s.points))
        ]
        shown = [point for point in s.points if _is_number(point)]
        marked = s.style in ("solid", "dashed") and len(shown) <= _MOST_MARKS
        lines.append(
            Line(
                label=s.label,
                color=s.color,
                style=s.style,
                path=" ".join(_path(piece) for piece in pieces if len(piece) > 1),
                dots=tuple(piece[0] for piece in pieces if len(piece) == 1),
                marks=tuple(
                    Mark(
                        round(x(epoch), 1),
                        round(y(value), 1),
                        f"{s.label}, epoch {epoch:g}: {value:.4g}",
                    )
                    for epoch, value in (shown if marked else ())
                ),
            )
        )
    return Chart(
        title=title,
        quantity=quantity,
        across=tuple(Tick(round(x(e), 1), _label(e)) for e in along if e <= max(epochs)),
        up=tuple(Tick(round(y(value), 1), _label(value)) for value in up),
        lines=tuple(lines),
        words=f"{title} ({quantity}) over {max(epochs):g} epochs. "
        + " ".join(map(_in_words, drawn)),
    )


def _is_number(point: tuple[float, float]) -> bool:
    return all(isinstance(v, int | float) and math.isfinite(v) for v in point)


def _in_words(series: Series) -> str:
    values = [point[1] for point in series.points if _is_number(point)]
    return (
        f"{series.label}: from {values[0]:.4g} to {values[-1]:.4g}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}."
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of many points the lowest and the highest of each short stretch, so that peaks stay."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / (_MOST_POINTS // 2))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        numbers = [i for i, point in enumerate(stretch) if _is_number(point)]
        if not numbers:
            kept.append((stretch[0][0], math.nan))
            continue
        lowest = min(numbers, key=lambda i: stretch[i][1])
        highest = max(numbers, key=lambda i: stretch[i][1])
        kept += [stretch[i] for i in sorted({lowest, highest})]
    return kept


def _pieces(points: Iterable[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The stretches between what is not a number."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _is_number(point):
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _steps(values: Iterable[float], most: float = math.inf) -> list[float]:
    """Four to seven round numbers that enclose the values, and 0 where that is near."""
    values = tuple(values)
    low, high = min(values), max(values)
    if 0 < low < 0.4 * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(high), 1e-9):  # all the same
        low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1.0)
    high = min(high, most)
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, their doubles and their fivefold that enclose the values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [float(f"{factor}e{power}") for power in range(first, last + 1) for factor in (1, 2, 5)]
    bottom = max(value for value in fine if value <= low)
    top = min(value for value in fine if value >= high)
    return [value for value in fine if bottom <= value <= top]


def _label(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e5:
        digits, _, power = f"{value:.3g}".partition("e")
        return f"{digits}e{int(power)}" if power else digits
    return f"{value:.6g}"
