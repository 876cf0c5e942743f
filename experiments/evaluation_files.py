"""What an evaluation leaves: a folder that is there whole or not at all, and what it says."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.results import class_lines
from jaxcnn.errors import UserError
from jaxcnn.evaluation.answers import Answers
from jaxcnn.evaluation.scores import confusion
from jaxcnn.files import whole_folder, write_atomically
from jaxcnn.inspection.confusion import draw_confusion

FILES = {
    "result.json": "this result, with the accuracy of every class",
    "predictions.csv": "of every image its label and its five most probable classes",
    "confusion.png": "what the images of each class were taken for",
}

_FEW = 20  # classes whose accuracies are all printed


@contextlib.contextmanager
def folder_for(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``path``, and of an earlier evaluation, at the end.

    Raises:
      UserError: it cannot be written, or what is there is no evaluation.
    """
    if path.exists() and not (path.is_dir() and {p.name for p in path.iterdir()} <= set(FILES)):
        raise UserError(f"{path} is no earlier evaluation; give another folder by --output.")
    with whole_folder(path) as folder:
        yield folder


def write(
    folder: Path, result: Mapping[str, Any], answers: Answers, class_names: tuple[str, ...]
) -> None:
    """Writes every file of an evaluation.

    Raises:
      UserError: the file system does not take it.
    """
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")
    write_atomically(folder / "predictions.csv", _predictions(answers, class_names))
    matrix = confusion(answers, len(class_names))
    draw_confusion(matrix, class_names, folder / "confusion.png")


def _predictions(answers: Answers, class_names: tuple[str, ...]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    listed = range(1, answers.classes.shape[1] + 1)
    header = [f"{what}_{place}" for place in listed for what in ("class", "probability")]
    table.writerow(["index", "name", "label", *header])
    for row in range(len(answers)):
        best = zip(answers.classes[row], answers.probabilities[row], strict=True)
        pairs = [value for k, share in best for value in (class_names[k], f"{share:.5f}")]
        name = answers.names[row].decode(errors="replace")
        table.writerow([answers.index[row], name, class_names[answers.label[row]], *pairs])
    return text.getvalue()


def text(result: Mapping[str, Any], folder: Path) -> str:
    """What an evaluation ends by saying."""
    errors = ", ".join(
        f"{name} error {found['error']:.2%} (95 % interval {low:.2%} to {high:.2%})"
        for name, found in (("top-1", result["top1"]), ("top-5", result["top5"]))
        for low, high in [found["interval"]]
    )
    scales = ", ".join(map(str, result["scales"]))
    lines = [
        f"Result: {errors} on the {result['examples']:,} images of {result['split']}, by "
        f"{result['protocol']} at Q = {scales}."
    ]
    lines += [f"Published for it: {_figure(figure)}." for figure in result["published"] or ()]
    if result["published"] == []:
        lines.append("No figure is published for this network, this protocol and these scales.")
    if result["skipped"]:
        lines.append(f"Skipped: {result['skipped']} images that could not be read.")
    lines += _classes(result["classes"])
    lines.append(f"Written to {folder}:")
    lines += [f"  {name:<16} {what}" for name, what in FILES.items()]
    return "\n".join(lines)


def _figure(figure: Mapping[str, Any]) -> str:
    errors = ", ".join(
        f"{name} error {figure[key]:g} %"
        for name, key in (("top-1", "top1"), ("top-5", "top5"))
        if figure[key] is not None
    )
    of_training = ""
    if figure["trained"] is not None:
        low, high = figure["trained"]
        of_training = f"S = {low}, " if low == high else f"S in [{low}; {high}], "
    return f"{errors} ({of_training}{figure['source']})"


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The accuracy of every class, or of the worst where there are many."""
    shown = list(classes)
    title = "Accuracy per class:"
    if len(shown) > _FEW:
        some = [name for name in shown if classes[name]["count"]]
        shown = sorted(some, key=lambda name: classes[name]["accuracy"])[:5]
        title = f"The classes of the lowest accuracy, of {len(classes):,}:"
    return [title, *class_lines({name: classes[name] for name in shown})]
