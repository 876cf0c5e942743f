"""What comes of runs from several seeds: their errors, mean and spread, and a table of them."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.workdir import RESULT
from jaxcnn.errors import UserError
from jaxcnn.files import read_object
from jaxcnn.training.records import read_metrics


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a comparison takes of a finished run; errors are top-1, in [0, 1].

    Attributes:
      seed: of the run.
      error: of the last state on the test split, or on the evaluation's where there is no other.
      examples: images of that split.
      curve: the training error over each epoch, as the network was trained: with dropout and
        augmentation, by parameters that changed meanwhile.
      evaluations: the evaluation's error after each epoch.
      epochs: of these two.
      seconds: the run took; None for one that was stopped and continued.
      hardware: in words.
    """

    seed: int
    error: float
    examples: int
    curve: tuple[float, ...]
    evaluations: tuple[float, ...]
    epochs: tuple[float, ...]
    seconds: float | None
    hardware: str

    @property
    def training_error(self) -> float:
        """That over the last epoch."""
        return self.curve[-1]


def read_outcome(workdir: Path, seed: int) -> Outcome:
    """The outcome of the finished run in a folder.

    Raises:
      UserError: its files cannot be read.
    """
    try:
        result = read_object(workdir / RESULT)
        lines = read_metrics(workdir / "metrics.jsonl")
        return _outcome(result, lines, seed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{workdir / RESULT} cannot be read ({error}); rename {workdir}, and this run is made "
            "again."
        ) from error


def _outcome(result: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], seed: int) -> Outcome:
    trained = [line for line in lines if line["kind"] == "epoch"]
    evaluated = result.get("test") or result
    return Outcome(
        seed=seed,
        error=1 - evaluated["accuracy"],
        examples=evaluated["examples"],
        curve=tuple(1 - line["accuracy"] for line in trained),
        evaluations=tuple(1 - line["accuracy"] for line in lines if line["kind"] == "eval"),
        epochs=tuple(line["epoch"] for line in trained),
        seconds=None if result["continued"] else result["seconds"],
        hardware=result["hardware"],
    )


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (that of n - 1) of some values; None of a single one."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """That of the values, of which there is at least one."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation)

    def percent(self) -> str:
        """In percent, such as ``'1.39 ± 0.28'``, or ``'1.39'`` of a single value."""
        deviation = "" if self.deviation is None else f" ± {100 * self.deviation:.2f}"
        return f"{100 * self.mean:.2f}{deviation}"


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The outcomes of one configuration, as a JSON-able dict."""
    error = Spread.of([outcome.error for outcome in outcomes])
    training = Spread.of([outcome.training_error for outcome in outcomes])
    whole = [outcome.seconds for outcome in outcomes if outcome.seconds is not None]
    return {
        "seeds": [outcome.seed for outcome in outcomes],
        "examples": outcomes[0].examples,
        "errors": [outcome.error for outcome in outcomes],
        "error": dataclasses.asdict(error),
        "training_errors": [outcome.training_error for outcome in outcomes],
        "training_error": dataclasses.asdict(training),
        "seconds": statistics.fmean(whole) if whole else None,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose source is aligned: the first column to the left, numbers too."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(c.ljust(w) for c, w in zip(cells, widths, strict=True))} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(head), rule, *map(line, rows)])
