"""What a page shows of a run, gathered from its work directory; what is not there is said."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.checkpoints import steps_per_epoch
from experiments.config import Experiment
from experiments.members import of_run
from experiments.results import epochs_in_words
from experiments.run_answers import answered
from experiments.tensorboard import first_filters
from experiments.workdir import RESULT
from jaxcnn.errors import UserError
from jaxcnn.files import read_object
from jaxcnn.inspection.report import Figure, Run
from jaxcnn.training.checkpoint_reading import meta_of, read_best
from jaxcnn.training.devices import Layout
from jaxcnn.training.goodput import WORDS, EarlierStarts
from jaxcnn.training.records import read_metrics, read_timings


def contents_of(
    folder: Path,
    config: Experiment,
    layout: Layout,
    *,
    name: str,
    workdir: str,
    images: int | None,
    mistakes: int,
) -> Run:
    """All that there is to show of a run.

    Args:
      folder: the work directory, or a copy of it.
      config: of the run.
      layout: the devices that the network is asked on.
      name: by which the run is told from others.
      workdir: how the user names the work directory.
      images: test images that the network is asked about, at most; 0: it is not asked. None: all.
      mistakes: that are shown, at most.
    """
    missing: list[str] = []
    parts: dict[str, Any] = {}
    with _said(missing):
        parts["metrics"] = read_metrics(folder / "metrics.jsonl")
    parts |= _unfinished(folder, config, parts.get("metrics", ()), missing)
    with _said(missing):
        parts |= _of_result(folder)
    with _said(missing):
        member = of_run(str(folder), config)
        member.check()
        parts["filters"] = first_filters(
            member.model, member.variables, member.preprocessing, member.image_size
        )
        if images != 0:
            parts["answered"] = answered(member, config, layout, images=images, mistakes=mistakes)
    return Run(
        name=name,
        workdir=workdir,
        network=config.model.name,
        source=config.data.source,
        missing=tuple(dict.fromkeys(missing)),
        **parts,
    )


@contextmanager
def _said(missing: list[str]) -> Iterator[None]:
    """Makes of a user's mistake a sentence of the page."""
    try:
        yield
    except UserError as error:
        sentence = str(error)
        missing.append(sentence[:1].upper() + sentence[1:])


def _unfinished(
    folder: Path, config: Experiment, metrics: Sequence[Mapping[str, Any]], missing: list[str]
) -> dict[str, Any]:
    """What the records and the checkpoints say of a run that has no result, or none yet."""
    evaluated = [line for line in metrics if line["kind"] == "eval"]
    each = steps_per_epoch(folder)
    made = f"{metrics[-1]['step']:,}" if metrics else "0"
    if each is not None:
        made += f" of {config.train.last_step(round(each)):,}"
    parts: dict[str, Any] = {
        "state": f"{made} steps",
        "about": f"Not finished: {made} steps are recorded.",
    }
    if evaluated:
        after = Figure(epochs_in_words(evaluated[-1]["epoch"]), f"{evaluated[-1]['step']:,} steps")
        parts["verdict"] = _figures(evaluated[-1]) | {"Epochs": after}
    with _said(missing):
        earlier = EarlierStarts.of(read_timings(folder / "timings.jsonl"))
        if earlier.count:
            parts |= {"goodput": _seconds(earlier.spent), "starts": earlier.count}
    if not (folder / RESULT).exists():
        with _said(missing):
            versions = read_best(folder, meta_of).get("versions")
            if isinstance(versions, Mapping):
                parts["environment"] = {str(k): str(v) for k, v in versions.items()}
    return parts


def _of_result(folder: Path) -> dict[str, Any]:
    """What the result of a finished run says; nothing where there is none."""
    try:
        return _parts_of(read_object(folder / RESULT))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / RESULT} cannot be read ({type(error).__name__}: {error}); remove it, and "
            "the run's command writes it again."
        ) from error


def _parts_of(result: Mapping[str, Any]) -> dict[str, Any]:
    test, best, spent = result.get("test"), result["best"], result.get("goodput")
    verdict = _figures(result) if test is None else _figures(test, "of the test")
    if test is not None:
        verdict["Evaluation"] = Figure(f"{result['accuracy']:.2%}", "top-1 accuracy")
    if best is not None:
        verdict["Best evaluation"] = Figure(
            f"{best['accuracy']:.2%}", f"after epoch {epochs_in_words(best['epoch'])}"
        )
    verdict["Epochs"] = Figure(epochs_in_words(result["epochs"]), f"{result['steps']:,} steps")
    parts: dict[str, Any] = {}
    if spent is not None:
        parts |= {"goodput": _seconds(spent["seconds"]), "starts": int(spent["starts"])}
    # A run that was stopped and continued took longer than its last start.
    if not result["continued"]:
        verdict["Time"] = Figure(_duration(float(result["seconds"])))
    elif spent is not None:
        verdict["Time"] = Figure(
            _duration(sum(parts["goodput"].values())), f"over {parts['starts']} starts"
        )
    measured = result if test is None else test
    return parts | {
        "state": "finished",
        "about": f"Finished, on {result['hardware']}, and measured on the {measured['examples']:,} "
        f"images of {measured['split']}.",
        "verdict": verdict,
        "classes": {
            str(name): {
                "accuracy": None if found["accuracy"] is None else float(found["accuracy"]),
                "correct": int(found["correct"]),
                "count": int(found["count"]),
            }
            for name, found in measured["classes"].items()
        },
        "environment": {"hardware": str(result["hardware"])}
        | {str(name): str(version) for name, version in result["versions"].items()},
    }


def _figures(of: Mapping[str, Any], note: str = "") -> dict[str, Figure]:
    """Accuracies and loss."""
    return {
        "Top-1 accuracy": Figure(f"{float(of['accuracy']):.2%}", note),
        "Top-5 accuracy": Figure(f"{float(of['top5']):.2%}", note),
        "Loss": Figure(f"{float(of['loss']):.4f}", note),
    }


def _seconds(spent: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by the words for what they were spent on, useful steps first."""
    return {words: float(spent.get(kind, 0.0)) for kind, words in WORDS.items()}


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
