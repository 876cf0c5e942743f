"""The page itself: templates filled with what is to be shown.

Class names, paths and values are escaped, images are pixels, and the page forbids the browser
scripts and anything from elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn.errors import printable
from jaxcnn.inspection.report.answers import answers_of
from jaxcnn.inspection.report.contents import Filters, Run, Setting
from jaxcnn.inspection.report.curves import charts_of, color_of
from jaxcnn.inspection.report.embedding import data_address, side_by_side
from jaxcnn.inspection.report.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from jaxcnn.version import __version__

_MISTAKES = 96  # in all, so that a page of photographs stays below 3 MB


class Sheet(NamedTuple):
    """Filters side by side: a ``data:`` address and the width of the picture on the page."""

    layer: str
    filters: int
    size: str
    groups: int
    address: str
    width: int


def report_html(runs: Sequence[Run], settings: Sequence[Setting], *, preset: str = "") -> str:
    """The page.

    Args:
      runs: one or several.
      settings: their configurations, group by group.
      preset: the name of the preset that the one run is compared with; ``''``: with none.
    """
    import jinja2  # not with this file: a training, too, makes some of the pictures

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_writable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"data_address": data_address}
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        group, dot, _ = setting.name.rpartition(".")
        groups.setdefault(group if dot else "run", []).append(setting)
    return pages.get_template("page.html").render(
        runs=runs,
        colors=[color_of(number) for number in range(len(runs))],
        charts=charts_of(runs),
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT}
        | {"top": TOP, "bottom": HEIGHT - BOTTOM},
        groups=groups,
        fields=len(settings),
        differing=[setting for setting in settings if setting.differs],
        preset=preset,
        verdicts=_names(run.verdict for run in runs),
        activities=_names(run.goodput for run in runs),
        environment=_names(run.environment for run in runs),
        answers=[answers_of(run) for run in runs],
        sheets=[None if run.filters is None else _sheet(run.filters) for run in runs],
        version=__version__,
    )


def mistakes_each(runs: int) -> int:
    """How many mistakes a page should show of each of so many runs."""
    return max(3, min(24, _MISTAKES // runs))


def _writable(value: Any) -> Any:
    """What is to be escaped without the characters that no page can hold."""
    return printable(value) if type(value) is str else value


def _names(tables: Any) -> list[str]:
    """The names in several mappings, each once."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _sheet(filters: Filters) -> Sheet:
    count, height, width, _ = filters.pictures.shape
    each = count // filters.groups
    columns = min(each, 8 if each <= 32 else 16)
    enlarged = max(1, 44 // (width + 1))
    return Sheet(
        layer=filters.layer,
        filters=count,
        size=f"{height} × {width}",
        groups=filters.groups,
        address=data_address(side_by_side(filters, columns=columns)),
        width=enlarged * (columns * (width + 1) + 1),
    )
