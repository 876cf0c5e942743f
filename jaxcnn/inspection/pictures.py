"""Pictures of runs: curves, and several of them compared.

Drawn through matplotlib's objects alone; pyplot and its global state have no part in it.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcnn.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
"""Pixels to an inch of a picture."""

# Blue and vermilion of Okabe and Ito, which all people tell apart, and a paler blue.
TRAINING, RUNNING, EVALUATION = "#0072B2", "#A6CEE3", "#D55E00"
# The others of theirs that stand out from white.
DISTINCT = (TRAINING, EVALUATION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def draw_curves(
    metrics: Sequence[Mapping[str, Any]], path: Path, *, title: str = "Training and evaluation"
) -> None:
    """Draws loss and accuracy of training and evaluation over the epochs.

    Args:
      metrics: lines with ``kind`` (``'train'``: over a few steps; ``'epoch'``: over an epoch's
        training images; ``'eval'``), ``epoch``, ``loss`` in nats, ``accuracy`` and, in
        evaluations, ``top5`` in [0, 1]. What is not a number leaves a gap.
      path: the PNG file, written whole or not at all.
      title: stands above both.

    Raises:
      UserError: the file cannot be written.
    """
    figure = _figure(10, 4.2, layout="constrained")
    figure.suptitle(title, fontsize=13)
    loss, accuracy = figure.subplots(1, 2)
    _panel(loss, "Loss", "cross-entropy (nats per image)")
    _panel(accuracy, "Accuracy", "images classified correctly (%)")
    for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        _curve(axes, _series(metrics, "train", name, scale), "training, some steps", RUNNING, "-")
        _curve(axes, _series(metrics, "epoch", name, scale), "training, epoch", TRAINING, "-o")
        _curve(axes, _series(metrics, "eval", name, scale), "evaluation", EVALUATION, "-o")
    _curve(accuracy, _series(metrics, "eval", "top5", 100), "evaluation, top 5", EVALUATION, "--s")
    loss.set_ylim(bottom=0)
    for axes in (loss, accuracy):
        axes.set_xlim(left=0)
        if axes.lines:
            axes.legend(frameon=False)
    save_figure(figure, path)


class Compared(NamedTuple):
    """One of several configurations, each trained from several seeds; errors are in [0, 1].

    Attributes:
      label: what it is called.
      errors: the last evaluation's, of each seed.
      training_errors: over the last epoch, of each seed.
      epochs: of the curves' points.
      training_curves: over each epoch, a curve for each seed.
      curves: of the evaluation after each epoch, a curve for each seed.
    """

    label: str
    errors: Sequence[float]
    training_errors: Sequence[float]
    epochs: Sequence[float]
    training_curves: Sequence[Sequence[float]]
    curves: Sequence[Sequence[float]]


def draw_comparison(
    panels: Mapping[str, Sequence[Compared]], path: Path, *, title: str = "Comparison"
) -> None:
    """Draws configurations side by side: their last errors above, their errors by epoch below.

    Above, a small mark is a seed, a large one the mean, a bar the standard deviation to either
    side. Below are means over the seeds, dashed of training as in He et al. 2015, figure 6.

    Args:
      panels: what is drawn together, by title.
      path: the PNG file, written whole or not at all.
      title: stands above all.

    Raises:
      UserError: the file cannot be written.
    """
    figure = _figure(max(6.0, 3.6 * len(panels)), 7.5, layout="constrained")
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots(2, len(panels), squeeze=False, sharey="row")
    for column, (name, compared) in enumerate(panels.items()):
        last, by_epoch = axes[:, column]
        _panel(last, name, "error (%)" if column == 0 else "", along="")
        _panel(by_epoch, "", "error (%)" if column == 0 else "")
        for shift, label, color, of in (
            (-0.12, "training, last epoch", TRAINING, [c.training_errors for c in compared]),
            (0.12, "evaluation", EVALUATION, [c.errors for c in compared]),
        ):
            for place, errors in enumerate(of):
                percent = 100 * np.asarray(errors)
                last.plot([place + shift] * len(percent), percent, ".", color=color, markersize=4)
                last.errorbar(
                    place + shift,
                    percent.mean(),
                    percent.std(ddof=1) if len(percent) > 1 else 0,
                    fmt="o",
                    color=color,
                    capsize=3,
                    label=label if place == 0 else None,
                )
        last.set_xticks(range(len(compared)), [c.label for c in compared])
        last.set_xlim(-0.5, len(compared) - 0.5)
        for index, c in enumerate(compared):
            color = DISTINCT[index % len(DISTINCT)]
            trained, evaluated = (
                100 * np.mean(of, axis=0).ravel() for of in (c.training_curves, c.curves)
            )
            by_epoch.plot(c.epochs, trained, "--", color=color, linewidth=1)
            by_epoch.plot(c.epochs, evaluated, "-", color=color, linewidth=1.5)
            by_epoch.lines[-1].set_label(c.label.replace("\n", ", "))
        by_epoch.set_xlim(left=0)
        by_epoch.legend(frameon=False, fontsize=8)
    axes[0, 0].legend(frameon=False, fontsize=8)
    _panel(axes[1, 0], "evaluation; dashed: training", "error (%)")
    for row in axes[:, 0]:
        row.set_ylim(bottom=0)
    save_figure(figure, path)


def _panel(axes: "Axes", title: str, quantity: str, along: str = "epochs") -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(along)
    axes.set_ylabel(quantity)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _series(
    metrics: Sequence[Mapping[str, Any]], kind: str, name: str, scale: float
) -> tuple[list[float], list[float]]:
    """Epochs and values of one quantity, in the order of the lines."""
    lines = [line for line in metrics if line["kind"] == kind and name in line]
    return [line["epoch"] for line in lines], [scale * line[name] for line in lines]


def _curve(
    axes: "Axes", points: tuple[list[float], list[float]], label: str, color: str, style: str
) -> None:
    """A line whose marks are small enough not to hide it where there are many; none of nothing."""
    if points[0]:
        size = max(2.0, 5.0 - len(points[0]) / 15)
        axes.plot(*points, style, color=color, markersize=size, linewidth=1.5, label=label)


def _figure(width: float, height: float, **options: Any) -> "Figure":
    """An empty figure of so many inches."""
    # Not imported with this file: it is a fifth of what a command takes to start.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure whole or not at all; the same picture is the same bytes.

    Args:
      figure: what is drawn.
      path: the file, an SVG if it ends so and otherwise a PNG.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib import rc_context

    kind = "svg" if path.suffix == ".svg" else "png"
    # Neither matplotlib's version nor the time, and no names drawn at random within an SVG.
    left_out = {"svg": ("Creator", "Date"), "png": ("Software",)}[kind]
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "jaxcnn"}):
        figure.savefig(picture, format=kind, dpi=DPI, metadata=dict.fromkeys(left_out))
    write_atomically(path, picture.getvalue())
