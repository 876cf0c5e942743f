"""Labels beside the dots of a chart, where none lies on another or on a dot."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox as Box

# In the order in which they are tried: right, left, above, below, and between them.
_DEGREES = (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240)
# In points, the nearest first; what is further than near has a line to its dot.
_GAPS, _NEAR = (3, 7, 12, 18, 26, 36, 48), 7
_ACROSS: dict[float, Literal["left", "center", "right"]] = {0: "left", 0.5: "center", 1: "right"}
_UP: dict[float, Literal["bottom", "center", "top"]] = {0: "bottom", 0.5: "center", 1: "top"}


def place_labels(
    axes: "Axes",
    places: Sequence[tuple[float, float]],
    radii: Sequence[float],
    labels: Sequence[str],
    **style: Any,
) -> None:
    """Writes a label beside each dot, as near as it is free, with a line where it is not near.

    The axes must be where they will stay: the figure's layout done, their limits and scales set.

    Args:
      axes: of the dots.
      places: of the dots, in the axes' own numbers.
      radii: of the dots, in points.
      labels: of the dots.
      **style: of the labels' text.
    """
    from matplotlib.transforms import Bbox

    figure = axes.get_figure()
    assert figure is not None
    point = figure.dpi / 72
    centres = axes.transData.transform(places)
    dots = [(x, y, radius * point) for (x, y), radius in zip(centres, radii, strict=True)]
    frame = axes.get_window_extent()
    taken: list[Box] = []
    # Small dots first: there is less room around them.
    for i in sorted(range(len(labels)), key=lambda i: (radii[i], places[i])):
        text = axes.annotate(labels[i], places[i], (0, 0), textcoords="offset points", **style)
        extent = text.get_window_extent()

        def box(across: float, up: float, i: int = i, extent: "Box" = extent) -> "Box":
            """The label's place, its nearest side or corner so far from its dot's centre."""
            left = centres[i][0] + across * point - _part(across) * extent.width
            bottom = centres[i][1] + up * point - _part(up) * extent.height
            return Bbox.from_bounds(left, bottom, extent.width, extent.height).padded(point)

        offsets = [
            ((radii[i] + gap) * math.cos(angle), (radii[i] + gap) * math.sin(angle))
            for gap, angle in itertools.product(_GAPS, map(math.radians, _DEGREES))
        ]
        offset = min(offsets, key=lambda offset: _crowd(box(*offset), taken, dots, frame))
        text.set_position(offset)
        text.set_horizontalalignment(_ACROSS[_part(offset[0])])
        text.set_verticalalignment(_UP[_part(offset[1])])
        taken.append(box(*offset))
        if math.hypot(*offset) > radii[i] + _NEAR:
            line = {"arrowstyle": "-", "color": "#999999", "lw": 0.6, "shrinkB": radii[i]}
            axes.annotate("", places[i], offset, textcoords="offset points", arrowprops=line)


def _part(offset: float) -> float:
    """Which part of a label lies on the dot's side: none, half or all, for an offset along it."""
    return 0.5 if abs(offset) < 1e-6 else float(offset < 0)


def _crowd(
    box: "Box", taken: Sequence["Box"], dots: Sequence[tuple[float, float, float]], frame: "Box"
) -> int:
    """How much a label would lie on: other labels, dots, the edge."""
    beyond = (frame.x0 > box.x0, frame.y0 > box.y0, frame.x1 < box.x1, frame.y1 < box.y1)
    lain_on = sum(box.overlaps(other) for other in taken)
    for x, y, radius in dots:
        nearest = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
        lain_on += math.dist((x, y), nearest) < radius
    return lain_on + sum(beyond)
