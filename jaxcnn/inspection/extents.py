"""What the units of a layer see of an image: fields, and what they are made of along each axis."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple


class ReceptiveField(NamedTuple):
    """The part of an image that each unit of a layer depends on; all in pixels, (rows, columns).

    The unit in row i and column j of a map sees ``size`` pixels, whose centre is ``offset`` and
    (i, j) times ``stride``. At the edges padding takes the place of a part of the field, which
    mostly lies beyond the image.

    Attributes:
      size: height and width of the field.
      stride: from one unit's field to the next one's; 0 where all units see the same.
      offset: the centre of the first unit's field, in pixels from the centre of the image's first
        one: 0.5 is between its first and its second.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    offset: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Extent:
    """What an array's positions see of an image's rows, or of its columns.

    Position i of the axis sees ``size`` pixels from pixel ``start + stride * i`` on. Where the
    positions see parts of several sizes, or unevenly apart, ``start`` and ``size`` are of all of
    them together.

    Attributes:
      pixels: of the image.
      axis: of the array; None where it makes no difference, or is not known.
      count: positions along the axis.
      start: the first pixel that the first position sees.
      size: pixels that one position sees.
      stride: pixels from one position's first to the next one's.
      even: whether all positions see as much, evenly apart.
    """

    pixels: int
    axis: int | None
    count: int
    start: int = 0
    size: int = 1
    stride: int = 1
    even: bool = True

    def together(self) -> "Extent":
        """What all positions together see, of what there is."""
        last = self.start + self.stride * (self.count - 1) + self.size
        start = max(self.start, 0)
        even = self.even or self.axis is not None
        return Extent(self.pixels, None, 1, start, min(last, self.pixels) - start, 0, even)

    def blurred(self, axis: int | None = None, count: int = 1) -> "Extent":
        """The same along an axis of which no more is known than what all of it sees."""
        everything = self.together()
        return dataclasses.replace(everything, axis=axis, count=count, even=False)

    def along(self, axis: int) -> "Extent":
        """The same at another axis."""
        return dataclasses.replace(self, axis=axis)

    def windows(
        self,
        axis: int,
        count: int,
        *,
        window: int = 1,
        stride: int = 1,
        before: int = 0,
        dilation: int = 1,
    ) -> "Extent":
        """What windows of positions see.

        Args:
          axis: along which the windows are laid out.
          count: of windows.
          window: positions in one of them.
          stride: positions from one to the next.
          before: positions of padding before the first.
          dilation: positions from one in a window to the next in it.
        """
        if not self.even:
            kept = (window, stride, before, count) == (1, 1, 0, self.count)
            return self.along(axis) if kept else self.blurred()
        return dataclasses.replace(
            self,
            axis=axis,
            count=count,
            start=self.start - self.stride * int(before),
            size=self.size + self.stride * dilation * (window - 1),
            stride=self.stride * stride,
        )


def field_of(rows: Extent | None, columns: Extent | None) -> ReceptiveField | None:
    """The receptive field of what sees these; None where its units have not one and the same."""
    if rows is None or columns is None or not (rows.even and columns.even):
        return None
    return ReceptiveField(
        (rows.size, columns.size),
        (rows.stride, columns.stride),
        (rows.start + (rows.size - 1) / 2, columns.start + (columns.size - 1) / 2),
    )


def union(extents: Sequence[Extent | None]) -> Extent | None:
    """What arrays see that are combined element by element."""
    seen = [extent for extent in extents if extent is not None]
    if not seen:
        return None
    first = min(extent.start for extent in seen)
    if len({(extent.axis, extent.count, extent.stride, extent.even) for extent in seen}) == 1:
        last = max(extent.start + extent.size for extent in seen)
        return dataclasses.replace(seen[0], start=first, size=last - first)
    everything = [extent.together() for extent in seen]
    first = min(extent.start for extent in everything)
    last = max(extent.start + extent.size for extent in everything)
    whole = Extent(seen[0].pixels, None, 1, first, last - first, 0)
    if any(e.even and e.axis is None and e.together() == whole for e in seen):
        return whole  # one of them sees as much as all, at every position
    axes = {extent.axis for extent in seen} - {None}
    if len(axes) != 1:
        return whole.blurred()
    axis = axes.pop()
    return whole.blurred(axis, next(e.count for e in seen if e.axis == axis))
