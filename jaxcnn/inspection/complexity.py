"""What networks reach for what they compute: the chart of accuracy against multiply-adds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.inspection.labels import place_labels
from jaxcnn.inspection.pictures import DISTINCT, save_figure

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection

# Square points to a million parameters.
AREA = 4.0
_GREY = "#555555"


class Dot(NamedTuple):
    """A network in the chart.

    Attributes:
      name: stands beside it.
      family: is seen by its colour.
      multiply_adds: for one image.
      parameters: are seen by its area.
      accuracy: top-1, in %.
      protocol: by which the accuracy was measured, in words; empty for the one that is compared.
    """

    name: str
    family: str
    multiply_adds: int
    parameters: int
    accuracy: float
    protocol: str


def draw_complexity(dots: Sequence[Dot], compared: str, paths: Sequence[Path]) -> None:
    """Draws accuracy against multiply-adds on a logarithmic scale.

    Full dots are by the protocol that is compared; open ones are by others, which their labels
    name, and which give better figures of the same network.

    Args:
      dots: the networks.
      compared: the protocol of those that name none, in words.
      paths: the files, PNG or SVG, each written whole or not at all.

    Raises:
      UserError: a file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title("What networks reach on ImageNet for what they compute", fontsize=14, pad=12)
    axes.set(
        xscale="log",
        xlabel="multiply-adds for one crop (billions)",
        ylabel="top-1 accuracy on the validation images (%)",
    )
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    colors = dict(zip(dict.fromkeys(dot.family for dot in dots), DISTINCT, strict=False))

    def draw(
        across: list[float], up: list[float], parameters: float, color: str, full: bool, label: str
    ) -> "PathCollection":
        return axes.scatter(
            across,
            up,
            s=AREA * parameters / 1e6,
            facecolor=f"{color}66" if full else "none",
            edgecolor=color,
            linestyle="-" if full else (0, (3, 1.5)),
            linewidth=1.2,
            label=label,
        )

    # The large ones first, so that none is hidden.
    for dot in sorted(dots, key=lambda dot: -dot.parameters):
        place = [dot.multiply_adds / 1e9], [dot.accuracy]
        draw(*place, dot.parameters, colors[dot.family], not dot.protocol, dot.name)
    costs = [dot.multiply_adds / 1e9 for dot in dots]
    axes.set_xlim(min(costs) / 1.4, max(costs) * 1.5)
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50) if min(costs) / 1.4 <= t <= max(costs) * 1.5]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    accuracies = [dot.accuracy for dot in dots]
    axes.set_ylim(min(accuracies) - 2, max(accuracies) + 2)

    legends = {
        "million parameters": [
            draw([], [], 1e6 * millions, _GREY, True, f"{millions}") for millions in (10, 50, 140)
        ],
        "measured by": [
            draw([], [], 2e7, _GREY, True, compared),
            draw([], [], 2e7, _GREY, False, "what stands beside it"),
        ],
        "networks": [draw([], [], 2e7, colors[name], True, name) for name in colors],
    }
    for (title, handles), left in zip(legends.items(), (0.37, 0.55, 0.765), strict=True):
        legend = Legend(
            axes,
            handles,
            [str(handle.get_label()) for handle in handles],
            title=title,
            loc="upper left",
            bbox_to_anchor=(left, 0.25),
            alignment="left",
            labelspacing=1.6 if title == "million parameters" else 0.6,
            frameon=False,
            fontsize=9,
        )
        axes.add_artist(legend)

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(
        axes,
        [(dot.multiply_adds / 1e9, dot.accuracy) for dot in dots],
        [math.sqrt(AREA * dot.parameters / 1e6) / 2 for dot in dots],
        [f"{dot.name}, {dot.protocol}" if dot.protocol else dot.name for dot in dots],
        fontsize=8.5,
        color="#222222",
    )
    for path in paths:
        save_figure(figure, path)
