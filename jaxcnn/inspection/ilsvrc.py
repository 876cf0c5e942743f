"""The errors of a challenge by year."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcnn.inspection.pictures import TRAINING, save_figure

_OTHERS = "#b4b4b4"


class Bar(NamedTuple):
    """One entry.

    Attributes:
      year: of the challenge.
      name: of the entry.
      what: was entered, in a few words.
      error: in %.
      here: whether it stands out.
    """

    year: int
    name: str
    what: str
    error: float
    here: bool


def draw_years(bars: Sequence[Bar], title: str, here: str, paths: Sequence[Path]) -> None:
    """Draws the errors as bars, one under the other, the first on top and the years apart.

    Args:
      bars: by year.
      title: stands above them.
      here: what stands out, in words.
      paths: the files, PNG or SVG, each written whole or not at all.

    Raises:
      UserError: a file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    years = list(dict.fromkeys(bar.year for bar in bars))
    # A bar is one high, and as much as half of one is between two years.
    places = [i + 0.5 * years.index(bar.year) for i, bar in enumerate(bars)]
    figure = Figure(figsize=(9, 0.55 * (places[-1] + 1) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=13, pad=10)
    drawn = axes.barh(
        places,
        [bar.error for bar in bars],
        height=0.78,
        color=[TRAINING if bar.here else _OTHERS for bar in bars],
    )
    axes.bar_label(
        drawn, [f"{bar.error:g} %" for bar in bars], padding=5, fontsize=10, fontweight="bold"
    )
    axes.set_yticks(places, [bar.name for bar in bars], fontsize=10)
    for bar, place in zip(bars, places, strict=True):
        axes.annotate(
            bar.what,
            (bar.error, place),
            (55, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color="#555555",
        )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(bar.error for bar in bars))
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    for year in years:
        own = [place for bar, place in zip(bars, places, strict=True) if bar.year == year]
        axes.text(
            -0.2,
            (own[0] + own[-1]) / 2,
            str(year),
            transform=axes.get_yaxis_transform(),
            va="center",
            ha="right",
            fontsize=12,
            fontweight="bold",
        )
    handles = [Patch(color=TRAINING, label=here), Patch(color=_OTHERS, label="others")]
    axes.legend(handles=handles, loc="lower right", frameon=False)
    for path in paths:
        save_figure(figure, path)
