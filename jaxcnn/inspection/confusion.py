"""The confusions of an evaluation as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcnn.inspection.pictures import save_figure


def draw_confusion(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draws how often images of each class were taken for each class.

    Every row is coloured by its shares, on a scale of square roots so that rare mistakes are seen;
    of few classes the names and the counts stand there too.

    Args:
      matrix: counts, ``(classes, classes)``: the class that an image has, and the one it was given.
      class_names: by label.
      path: the PNG file, written whole or not at all.

    Raises:
      UserError: the file cannot be written.
    """
    # Not imported with this file: it is a fifth of what a command takes to start.
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = len(class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.3 * classes, 14.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.set_title("What the images of each class were taken for", fontsize=11)
    picture = axes.imshow(
        shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest"
    )
    figure.colorbar(picture, ax=axes, label="share of the row's images", fraction=0.046)
    axes.set(xlabel="answer", ylabel="label")
    if classes <= 40:
        names = [n if len(n) <= 18 else f"{n[:17]}…" for n in class_names]
        turned = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(classes), names, rotation=turned, fontsize=8, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=8, parse_math=False)
    if classes <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if shares[row, column] > 0.4 else "black"
                axes.text(
                    column, row, str(count), ha="center", va="center", color=color, fontsize=7
                )
    save_figure(figure, path)
