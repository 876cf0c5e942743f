"""An image beside the copies that training makes of it."""

from pathlib import Path

import numpy as np

from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import as_rgb


def draw_augmented(
    image: np.ndarray,
    copies: np.ndarray,
    path: Path,
    *,
    title: str,
    how: str,
    columns: int = 6,
) -> None:
    """Draws an image and copies of it that were augmented.

    Args:
      image: uint8, ``(height, width, channels)``.
      copies: uint8, ``(n, size, size, channels)``, by the step at which training would see them.
      path: the PNG file, written whole or not at all.
      title: names the image and the recipe.
      how: what was done, for the note.
      columns: copies in a row.

    Raises:
      UserError: the file cannot be written.
    """
    original = Section(
        [Panel(as_rgb(image), f"{image.shape[0]} x {image.shape[1]}")], "image", columns=1, side=1.9
    )
    panels = [Panel(as_rgb(copy), str(step)) for step, copy in enumerate(copies)]
    heading = f"as training sees it, {copies.shape[1]} x {copies.shape[2]}, by step"
    section = Section(panels, heading, columns=columns, side=1.05)
    draw_grid([[original, section]], path, title=title, note=how)
