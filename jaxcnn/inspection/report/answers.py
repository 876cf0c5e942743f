"""What a network takes its images for, as a page shows it: per class, class by class, in pairs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.inspection.report.contents import Answered, Run
from jaxcnn.inspection.report.embedding import data_address

_TABLE = 20  # classes up to which the confusions are a table of counts
_LISTED, _FEW, _MOST = 30, 20, 1_000  # classes that are all listed; of more, the worst; in all
_PAIRS = 12
_PIXELS = 500  # of a picture of confusions, a side
_INK = (36, 132, 200)  # seen on light and on dark


class ClassRow(NamedTuple):
    """A class: how many of its images were given it; ``accuracy`` is None where it has none."""

    name: str
    accuracy: float | None
    correct: int
    images: int


class Cell(NamedTuple):
    """A class taken for another: how often, and that as a share of its images."""

    answer: str
    images: int
    share: float
    right: bool


class Pair(NamedTuple):
    """Two classes of which the first was taken for the second."""

    label: str
    answer: str
    images: int
    share: float


class Answers(NamedTuple):
    """All of it.

    Attributes:
      classes: every class, or those of the lowest accuracy where there are many.
      others: those that are not among them, as far as a page should hold them.
      total: how many classes there are.
      cells: the confusions of few classes, a row for each label.
      picture: those of many, as a ``data:`` address; ``''`` where there are few, or none.
      blocks: how many classes, in a row, a pixel of it stands for.
      pairs: the most frequent confusions of many classes.
      wide: whether the names of the classes are too long to stand side by side.
    """

    classes: tuple[ClassRow, ...]
    others: tuple[ClassRow, ...] = ()
    total: int = 0
    cells: tuple[tuple[str, tuple[Cell, ...]], ...] = ()
    picture: str = ""
    blocks: int = 1
    pairs: tuple[Pair, ...] = ()
    wide: bool = False


def answers_of(run: Run) -> Answers | None:
    """What is known of a run's answers; None where nothing is."""
    answered = run.answered
    if answered is None:
        return _of_classes(_rows(run.classes)) if run.classes else None
    counts, correct = answered.matrix.sum(axis=1), answered.matrix.diagonal()
    listed = _of_classes(
        [
            ClassRow(name, int(right) / int(count) if count else None, int(right), int(count))
            for name, right, count in zip(answered.class_names, correct, counts, strict=True)
        ]
    )
    if len(counts) <= _TABLE:
        wide = max(map(len, answered.class_names), default=0) > 4
        return listed._replace(cells=_cells(answered, counts), wide=wide)
    picture, blocks = _picture(answered.matrix)
    return listed._replace(picture=picture, blocks=blocks, pairs=_pairs(answered, counts))


def _rows(classes: Mapping[str, Mapping[str, Any]]) -> list[ClassRow]:
    return [
        ClassRow(name, found["accuracy"], found["correct"], found["count"])
        for name, found in classes.items()
    ]


def _of_classes(rows: list[ClassRow]) -> Answers:
    if len(rows) <= _LISTED:
        return Answers(tuple(rows), total=len(rows))
    worst_first = sorted(rows, key=lambda row: 2.0 if row.accuracy is None else row.accuracy)
    return Answers(
        tuple(worst_first[:_FEW]), tuple(worst_first[_FEW:_MOST]), total=len(worst_first)
    )


def _cells(answered: Answered, counts: np.ndarray) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple(
        (
            name,
            tuple(
                Cell(answer, int(n), int(n) / max(int(counts[row]), 1), row == column)
                for column, (answer, n) in enumerate(
                    zip(answered.class_names, answered.matrix[row], strict=True)
                )
            ),
        )
        for row, name in enumerate(answered.class_names)
    )


def _pairs(answered: Answered, counts: np.ndarray) -> tuple[Pair, ...]:
    """The most frequent confusions, one that happened once only where there are no others."""
    mistaken = answered.matrix - np.diag(answered.matrix.diagonal())
    order = np.argsort(-mistaken, axis=None, kind="stable")[:_PAIRS]
    pairs = []
    for label, answer in zip(*np.unravel_index(order, mistaken.shape), strict=True):
        if count := int(mistaken[label, answer]):
            names = answered.class_names[label], answered.class_names[answer]
            pairs.append(Pair(*names, count, count / int(counts[label])))
    return tuple(pairs)


def _picture(matrix: np.ndarray) -> tuple[str, int]:
    """The confusions as ink of which there is more where they are more frequent; and the blocks."""
    blocks = -(-len(matrix) // _PIXELS)
    side = -(-len(matrix) // blocks)
    padded = np.zeros((side * blocks, side * blocks))
    padded[: len(matrix), : len(matrix)] = matrix
    pooled = padded.reshape(side, blocks, side, blocks).sum(axis=(1, 3))
    shares = pooled / np.maximum(pooled.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = _INK
    # By square roots, so that rare mistakes are seen.
    pixels[..., 3] = np.round(255 * np.sqrt(shares))
    return data_address(pixels), blocks
