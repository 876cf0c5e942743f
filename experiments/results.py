"""The result of a run, as the dict that is written and as the text that is printed."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.environment import hardware, versions
from jaxcnn.data.sources import Source
from jaxcnn.errors import UserError
from jaxcnn.training.goodput import goodput_text
from jaxcnn.training.metrics import ClassSums, means

FILES = {
    "checkpoints": "the newest training states, to continue from",
    "best": "the state of the best evaluation",
    "metrics.jsonl": "every recorded metric, a JSON object to a line",
    "tensorboard": "the same as TensorBoard events, and pictures",
    "curves.png": "loss and accuracy over the epochs",
    "batch.png": "a training batch with its labels",
    "result.json": "this result",
}


def class_accuracy(
    correct: jax.Array | np.ndarray, count: jax.Array | np.ndarray, class_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For each class its accuracy (None where it has no image), correct answers and images.

    Args:
      correct: correct answers by class, shape ``(classes,)`` or longer.
      count: images by class, likewise.
      class_names: by class.
    """
    correct, count = np.asarray(correct), np.asarray(count)
    return {
        name: {
            "accuracy": int(correct[k]) / int(count[k]) if count[k] else None,
            "correct": int(correct[k]),
            "count": int(count[k]),
        }
        for k, name in enumerate(class_names)
    }


def class_lines(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What ``class_accuracy`` found, a line to a class."""
    width = max(map(len, classes), default=0)
    lines = []
    for name, found in classes.items():
        share = "no image" if found["accuracy"] is None else f"{found['accuracy']:8.2%}"
        lines.append(f"  {name:<{width}}  {share}  ({found['correct']} of {found['count']})")
    return lines


def measured(sums: ClassSums, source: Source, split: str | None) -> dict[str, Any]:
    """What an evaluation of a split found; ``sums`` are those over all its images."""
    return {
        "split": f"{source.name} {split}",
        "examples": int(sums.total.count),
        "skipped": len(source) - int(sums.total.count),
        **means(sums.total),
        "classes": class_accuracy(sums.correct, sums.count, source.class_names),
    }


def result(
    evaluated: Mapping[str, Any],
    *,
    test: Mapping[str, Any] | None,
    epochs: float,
    steps: int,
    best: Mapping[str, float] | None,
    devices: Sequence[jax.Device],
) -> dict[str, Any]:
    """What is written to ``result.json``, but for the time that it took.

    Args:
      evaluated: what the evaluation of the last state found, as of ``measured``.
      test: the same of the split that is for the last state alone, if there is one.
      epochs: epochs trained, not always whole.
      steps: steps made.
      best: the best evaluation's metrics; None where none gave a number.
      devices: the devices used.
    """
    return {
        **evaluated,
        "best": best,
        **({} if test is None else {"test": test}),
        "epochs": epochs,
        "steps": steps,
        "hardware": hardware(devices),
        "versions": versions(),
    }


def _accuracy(of: Mapping[str, Any]) -> str:
    return (
        f"top-1 accuracy {of['accuracy']:.2%}, top-5 {of['top5']:.2%}, loss {of['loss']:.4f} on "
        f"the {of['examples']:,} images of {of['split']}"
    )


def epochs_in_words(epochs: float) -> str:
    """Epochs, not always whole, in at most two decimals."""
    return f"{epochs:.2f}".rstrip("0").rstrip(".")


def text(result: Mapping[str, Any], workdir: Path) -> str:
    """What a run ends by saying.

    Raises:
      UserError: the result, which may come from a file, is none.
    """
    try:
        return _text(result, workdir)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{workdir}/result.json is damaged ({type(error).__name__}: {error}); remove it, and "
            "the same command writes it again."
        ) from error


def _text(result: Mapping[str, Any], workdir: Path) -> str:
    # A run that was stopped and continued took longer than its last start.
    took = "" if result["continued"] else f" in {result['seconds']:.0f} s"
    epochs = f"{epochs_in_words(result['epochs'])} epoch{'s' * (result['epochs'] != 1)}"
    lines = [f"Result: {_accuracy(result)}, after {epochs} ({result['steps']:,} steps){took}."]
    best, test = result["best"], result.get("test")
    if best is not None:
        lines.append(
            f"Best: top-1 accuracy {best['accuracy']:.2%}, loss {best['loss']:.4f}, "
            f"after epoch {epochs_in_words(best['epoch'])}."
        )
    if test is not None:
        lines.append(f"Test: {_accuracy(test)}, of the last state.")
    if "goodput" in result:  # an earlier version's has none
        lines.append(goodput_text(result["goodput"]))
    if skipped := result["skipped"] + (test or {}).get("skipped", 0):
        lines.append(f"Skipped: {skipped} images that could not be read.")
    shown = result if test is None else test
    lines.append("Accuracy per class:" if test is None else f"Accuracy per class, {test['split']}:")
    lines += class_lines(shown["classes"])
    lines.append(f"Written to {workdir}:")
    lines += [f"  {name:<14} {what}" for name, what in FILES.items()]
    lines.append(f"As a page: python -m experiments.report {shlex.quote(str(workdir))}")
    return "\n".join(lines)
