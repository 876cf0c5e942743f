"""A run that goes on over other devices, processes and workers: the same examples and losses."""

import dataclasses
import signal
from typing import Any

import numpy as np

from experiments.commandline import parse
from experiments.faults import moments
from experiments.faults.bench import Bench
from experiments.faults.series import Failure
from experiments.faults.small_run import ARGUMENTS, SmallRun
from experiments.faults.traces import last_lines, newest, records
from experiments.vgg_imagenet import RECIPE
from jaxcnn.data.pipeline import TrainBatches, iterate
from jaxcnn.data.sources import open_source
from jaxcnn.training.ending import AGAIN

_STEPS, _TOLERANCE = 20, 1e-5
# At a low rate, for a training where rounding, another one on every layout, hardly grows.
_SLOWLY = (
    "--config.optimizer.learning_rate=1e-5",
    "--config.train.log_every=1",
    f"--config.train.steps={_STEPS}",
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a part of a run takes place.

    Attributes:
      processes: how many.
      devices: those of each.
      workers: processes that read data, of each process.
    """

    processes: int
    devices: int
    workers: int = 0

    def __str__(self) -> str:
        of = {1: "1 process"}.get(self.processes, f"{self.processes} processes")
        words = f"{of} of {self.devices} device{'s' * (self.devices > 1)}"
        return words + (f" and {self.workers} workers" if self.workers else "")


MOVES = {
    "devices": (Layout(1, 8), Layout(1, 4, 2), Layout(1, 2), Layout(1, 1), Layout(1, 8)),
    "processes": (Layout(1, 1), Layout(2, 1, 1), Layout(4, 1)),
}


@dataclasses.dataclass
class Moves:
    """Runs that are stopped and go on elsewhere, several times each.

    Attributes:
      bench: what all faults share.
      made: how often a run went on elsewhere.
      examples: how many were compared in order.
      largest: the largest difference of a step's loss, by the name of the run.
      failures: what went wrong.
    """

    bench: Bench
    made: int = 0
    examples: int = 0
    largest: dict[str, float] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)

    def make(self) -> None:
        """Makes the runs and compares them with one that stays where it is."""
        self._compare_examples()
        reference = self._run("at-home", (Layout(1, 1),))
        for name, layouts in MOVES.items():
            try:
                found = self._run(name, layouts)
                if found.keys() != reference.keys():
                    raise Failure("the records have other steps")
                largest = max(abs(found[step] - reference[step]) for step in reference)
                self.largest[name] = largest
                self.bench.say(f"[moves] {name}: losses differ by {largest:.1e} at most")
                if largest > _TOLERANCE:
                    raise Failure(f"losses differ by {largest:.1e}")
            except Failure as failure:
                self.failures.append(f"moves, {name}: {failure}")
                self.bench.say(f"FAILED: {self.failures[-1]}")

    def _run(self, name: str, layouts: tuple[Layout, ...]) -> dict[int, float]:
        """The loss of every step of a run that is stopped in each layout but the last."""
        workdir = self.bench.folder / f"moves-{name}"
        workdir.mkdir()
        for number, layout in enumerate(layouts, 1):
            before = newest(workdir)
            with SmallRun(
                workdir,
                workdir.with_suffix(".logs"),
                *_SLOWLY,
                f"--config.data.workers={layout.workers}",
                processes=layout.processes,
                devices=layout.devices,
            ) as run:
                expected = 0
                if number < len(layouts):
                    moments.event(run, moments.record_of(run, "train"), 2)
                    run.send(signal.SIGTERM, [layout.processes - 1])
                    expected = AGAIN
                if set(run.wait(600)) != {expected}:
                    raise Failure(f"it did not end on {layout}: {last_lines(run)}")
            self.made += number > 1
            self.bench.say(f"[moves] {name}: steps {before + 1} to {newest(workdir)} on {layout}")
        lines = [line for line in records(workdir) if line["kind"] == "train"]
        if [line["step"] for line in lines] != list(range(1, _STEPS + 1)):
            raise Failure("a step is missing in the records, or twice there")
        return {line["step"]: line["loss"] for line in lines}

    def _compare_examples(self) -> None:
        """Reads the examples of every step as each number of processes does, in their order."""
        config, _ = parse(
            ARGUMENTS,
            presets=RECIPE.presets,
            default=RECIPE.default,
            program="",
            description="",
        )
        source = open_source(config.data.source, config.data.train_split)

        def batches(process: int, count: int) -> TrainBatches:
            return TrainBatches(
                source,
                config=config.data,
                augment=config.augment,
                batch_size=config.train.batch_size,
                process_index=process,
                process_count=count,
                seed=config.seed,
            )

        expected = [batches(0, 1)[step] for step in range(_STEPS)]
        for layout in sorted({at for run in MOVES.values() for at in run}, key=str):
            data = dataclasses.replace(config.data, workers=layout.workers)
            parts = [
                _read(batches(process, layout.processes), data)
                for process in range(layout.processes)
            ]
            for step, whole in enumerate(expected):
                for key in ("index", "label", "image"):
                    found = np.concatenate([part[step][key] for part in parts])
                    if not np.array_equal(found, whole[key]):
                        self.failures.append(f"moves: other examples on {layout} at step {step}")
                self.examples += len(whole["index"])

    def summary(self) -> dict[str, Any]:
        """What came of it, JSON-able."""
        return {
            "runs": {name: [str(layout) for layout in layouts] for name, layouts in MOVES.items()},
            "made": self.made,
            "examples_compared": self.examples,
            "steps": _STEPS,
            "largest_loss_difference": self.largest,
            "failures": self.failures,
        }


def _read(batches: TrainBatches, config: Any) -> list[dict[str, np.ndarray]]:
    """All batches, read ahead as a run does."""
    with iterate(batches, 0, _STEPS, config) as stream:
        return list(stream)
