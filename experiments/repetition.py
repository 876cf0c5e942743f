"""Configurations trained from several seeds, each a run of its own, and what they come to."""

import contextlib
import dataclasses
import io
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.config import Experiment
from experiments.run import run
from experiments.workdir import RESULT
from jaxcnn.errors import UserError
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
        result = json.loads((workdir / RESULT).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{workdir / RESULT} cannot be read ({error}); rename {workdir}, and this run is made "
            "again."
        ) from error
    lines = read_metrics(workdir / "metrics.jsonl")
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


def repeat(
    runs: Mapping[str, Experiment], seeds: Sequence[int], folder: Path, command: str
) -> dict[str, list[Outcome]] | None:
    """Trains each configuration once from each seed, in folders of their own.

    What an earlier, interrupted call finished is not done again, and what it began goes on.

    Args:
      runs: configurations by name; their own seeds and work directories do not count.
      seeds: at least one.
      folder: each run's is ``folder/NAME/seed_N``.
      command: the command's name, for messages.

    Returns:
      The outcomes by name, in the order of the seeds; None when it was asked to stop.

    Raises:
      UserError: a configuration cannot work, which is looked for before anything is trained, or a
        folder holds another run than its own.
    """
    made = {
        (name, seed): dataclasses.replace(
            config, seed=seed, workdir=str(folder / name / f"seed_{seed}")
        )
        for name, config in runs.items()
        for seed in seeds
    }
    for (name, _), config in made.items():
        try:
            config.check()
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        if config.parallel.detect or config.parallel.processes not in (None, 1):
            raise UserError(
                f"{command} makes one run after another in one process; leave parallel.coordinator "
                "and parallel.detect out."
            )
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runs}
    started = time.monotonic()
    for number, ((name, seed), config) in enumerate(made.items(), start=1):
        with contextlib.redirect_stdout(io.StringIO()):  # a page for each run; its files have it
            status = run(config, command, f"{name}, seed {seed}")
        if status:
            print(f"Stopped in run {number} of {len(made)}; the same command goes on from there.")
            return None
        jax.clear_caches()  # the compiled steps of a run serve no other one
        outcome = read_outcome(Path(config.workdir or ""), seed)
        outcomes[name].append(outcome)
        left = (time.monotonic() - started) / number * (len(made) - number) / 60
        print(
            f"[{number} of {len(made)}] {name}, seed {seed}: top-1 error {outcome.error:.2%}"
            + (f"; about {left:.0f} min left" if number < len(made) else ""),
            flush=True,
        )
    return outcomes


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
