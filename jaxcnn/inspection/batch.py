"""A batch of training images, each over its class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcnn.inspection.grids import Panel, Section, draw_grid


def draw_batch(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    rows: int = 4,
) -> None:
    """Draws the first images of a batch in a grid, each over its class's name.

    Args:
      images: uint8, ``(n, height, width, channels)``, of 1 (grey) or 3 channels (RGB).
      labels: integers, ``(n,)``.
      class_names: by label.
      path: the PNG file, written whole or not at all.
      columns: images in a row.
      rows: at most so many rows; further images are left out.

    Raises:
      UserError: the file cannot be written.
    """
    count = min(len(images), rows * columns)
    panels = [
        Panel(image, class_names[int(label)].replace("_", " "))
        for image, label in zip(images[:count], labels[:count], strict=True)
    ]
    title = f"A training batch with its labels: images 1 to {count} of {len(images)}"
    draw_grid([[Section(panels, columns=columns, side=1.3, lines=2)]], path, title=title)
