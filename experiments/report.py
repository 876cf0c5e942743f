"""The result of a run, as the dict that is written and as the text that is printed."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcnn.training.metrics import ClassSums, class_accuracy, means
from jaxcnn.version import __version__

FILES = {
    "checkpoints": "the newest training states, to continue from",
    "best": "the state of the best evaluation",
    "metrics.jsonl": "every recorded metric, a JSON object to a line",
    "tensorboard": "the same as TensorBoard events",
    "curves.png": "loss and accuracy over the epochs",
    "batch.png": "a training batch with its labels",
    "result.json": "this result",
}


def hardware(devices: Sequence[jax.Device]) -> str:
    """Platform, devices and processes in words, such as ``'cpu (8 devices, 1 process)'``."""
    kind = devices[0].device_kind
    name = devices[0].platform if kind == devices[0].platform else f"{devices[0].platform} {kind}"
    count, processes = len(devices), jax.process_count()
    return (
        f"{name} ({count} device{'s' * (count > 1)}, {processes} process{'es' * (processes > 1)})"
    )


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "jaxcnn": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def result(
    sums: ClassSums,
    *,
    split: str,
    class_names: tuple[str, ...],
    epochs: int,
    steps: int,
    best: Mapping[str, float] | None,
    devices: Sequence[jax.Device],
    skipped: int,
) -> dict[str, Any]:
    """What is written to ``result.json``, but for the time that it took.

    Args:
      sums: the evaluation of the last state.
      split: what was evaluated, such as ``'digits test'``.
      class_names: the names of the classes.
      epochs: epochs trained.
      steps: steps made.
      best: the best evaluation's metrics; None where none gave a number.
      devices: the devices used.
      skipped: images of the split that could not be read.
    """
    return {
        "split": split,
        "examples": int(sums.total.count),
        "skipped": skipped,
        **means(sums.total),
        "best": best,
        "classes": class_accuracy(sums, class_names),
        "epochs": epochs,
        "steps": steps,
        "hardware": hardware(devices),
        "versions": versions(),
    }


def text(result: Mapping[str, Any], workdir: Path) -> str:
    """What a run ends by saying."""
    # A run that was stopped and continued took longer than its last start.
    took = "" if result["continued"] else f" in {result['seconds']:.0f} s"
    lines = [
        f"Result: top-1 accuracy {result['accuracy']:.2%}, top-5 {result['top5']:.2%}, loss "
        f"{result['loss']:.4f} on the {result['examples']:,} images of {result['split']}, after "
        f"{result['epochs']} epoch{'s' * (result['epochs'] != 1)} ({result['steps']:,} steps)"
        f"{took}."
    ]
    best = result["best"]
    if best is not None:
        lines.append(
            f"Best: top-1 accuracy {best['accuracy']:.2%}, loss {best['loss']:.4f}, "
            f"after epoch {best['epoch']}."
        )
    if result["skipped"]:
        lines.append(f"Skipped: {result['skipped']} images that could not be read.")
    lines.append("Accuracy per class:")
    width = max(map(len, result["classes"]))
    for name, of_class in result["classes"].items():
        share = "no image" if of_class["accuracy"] is None else f"{of_class['accuracy']:8.2%}"
        lines.append(f"  {name:<{width}}  {share}  ({of_class['correct']} of {of_class['count']})")
    lines.append(f"Written to {workdir}:")
    lines += [f"  {name:<14} {what}" for name, what in FILES.items()]
    return "\n".join(lines)
