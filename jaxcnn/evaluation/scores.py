"""Error rates from answers, with how far chance may have moved them."""

import math
from typing import Any

import numpy as np

from jaxcnn.evaluation.answers import Answers

_NORMAL_95 = 1.959963984540054  # the normal distribution has 95 % within so many deviations


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score (1927).

    Unlike the share plus and minus its deviation it stays within [0, 1], and is no point where
    nothing, or everything, was counted.

    Args:
      count: how many were counted.
      total: of how many.

    Returns:
      The lowest and the highest share; all of [0, 1] where ``total`` is 0.
    """
    if not total:
        return 0.0, 1.0
    share, z = count / total, _NORMAL_95
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = (middle - reach) / scale, (middle + reach) / scale
    return max(0.0, min(share, low)), min(1.0, max(share, high))  # whatever rounding says


def error(answers: Answers, within: int) -> dict[str, Any]:
    """How many answers do not have the label among the first ``within``, and what share that is."""
    wrong, total = int(np.sum(answers.rank >= within)), len(answers)
    low, high = wilson(wrong, total)
    return {
        "error": wrong / total if total else None,
        "interval": [low, high],
        "wrong": wrong,
    }


def confusion(answers: Answers, num_classes: int) -> np.ndarray:
    """How often each class (row) was taken for each (column), int64 ``(classes, classes)``.

    An answer that holds what is not a number counts as the class that it lists first.
    """
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (answers.label, answers.classes[:, 0]), 1)
    return matrix


def class_counts(answers: Answers, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The correct answers and the images of each class, int64 ``(classes,)`` each."""
    correct = np.bincount(answers.label[answers.rank == 0], minlength=num_classes)
    return correct, np.bincount(answers.label, minlength=num_classes)
