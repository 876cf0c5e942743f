"""Faults of one kind, one after another, on runs that are compared when they end."""

import dataclasses
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.same_run import FinishedRun, differences, read_run, steps
from experiments.small_run import EVERY, STEPS, SmallRun
from jaxcnn.training.checkpoints import damage

_WHOLE_RUN = 600  # seconds: none takes so long that does not hang
_AFRESH = 5  # every so manieth run compiles anew
_ENOUGH = 3  # failures after which a series is given up
_IN_VAIN = 10  # runs in a row without a moment for a fault: it does not come


class Failure(Exception):  # noqa: N818 - it is what is looked for
    """A run did not do what it must."""


@dataclasses.dataclass
class Fault:
    """One that was made.

    Attributes:
      what: it in words.
      seconds: after the start of the process.
      statuses: the exit statuses that the processes must have; None for one that may have any.
      limit: how long they may take to end, in seconds.
      phase: what the run was doing.
      recorded: the last step in its records.
      ended: what the processes took to end, in seconds.
      lost: steps recorded that the next start made again; None where it never said so.
    """

    what: str
    seconds: float
    statuses: Sequence[int | None]
    limit: float = 30
    phase: str = ""
    recorded: int = 0
    ended: float = 0
    lost: int | None = None


Strike = Callable[[SmallRun, np.random.Generator, int], Fault | None]
"""Waits for a moment of a run and makes the fault of a number then; None: the run ended before."""


@dataclasses.dataclass
class Bench:
    """What all series share.

    Attributes:
      folder: holds the runs.
      seed: of all that is random in the faults.
      say: shows a line of progress.
      references: the undisturbed run by its number of processes.
      begin: seconds from the start of a process to its first record.
      whole: seconds of an undisturbed run.
      slowness: how much longer starts take of late, by what else the machine does.
    """

    folder: Path
    seed: int
    say: Callable[[str], None]
    references: Mapping[int, FinishedRun]
    begin: float
    whole: float
    slowness: float = 1.0

    @property
    def cache(self) -> Path:
        """Where the programs are kept that the references compiled."""
        return self.folder / "compiled"

    def left(self, step: int) -> float:
        """About how many seconds a start takes that goes on from a step to the end."""
        return self.slowness * (self.begin + (self.whole - self.begin) * (1 - step / STEPS))

    def took(self, step: int, seconds: float) -> None:
        """Learns from one that did."""
        self.slowness *= (seconds / self.left(step)) ** 0.5


def newest(workdir: Path) -> int:
    """The step of the newest checkpoint; 0 for none."""
    return (steps(workdir / "checkpoints") or [0])[-1]


@dataclasses.dataclass
class Series:
    """Faults of one kind.

    Attributes:
      bench: what all series share.
      name: the kind.
      count: how many are to be made.
      strike: makes one.
      processes: those of each run.
      keeps: whether nothing may be lost, as when a run is asked to stop.
      faults: those made.
      runs: how many were compared at their end and found the same.
      failures: what went wrong, and how to see it again.
    """

    bench: Bench
    name: str
    count: int
    strike: Strike
    processes: int = 1
    keeps: bool = False
    faults: list[Fault] = dataclasses.field(default_factory=list)
    runs: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    _begun: int = 0  # runs
    _starts: int = 0

    def make(self) -> None:
        """Makes all faults, or goes on with those that an interrupt left."""
        started, before = time.monotonic(), len(self.faults)
        in_vain = 0
        while len(self.faults) < self.count and len(self.failures) < _ENOUGH:
            made = len(self.faults)
            workdir = self.bench.folder / f"{self.name}-{self._begun}"
            workdir.mkdir()
            self._begun += 1
            try:
                self._live(workdir, started, before)
                in_vain = 0 if len(self.faults) > made else in_vain + 1
                if in_vain == _IN_VAIN:
                    raise Failure("its moment did not come")
            except Failure as failure:
                number = len(self.faults)
                words = (
                    f"{self.name} of --seed={self.bench.seed}, in {workdir}, at fault {number}"
                    f" ({self.faults[-1].what if self.faults else 'none'}): {failure}"
                )
                self.failures.append(words)
                self.bench.say(f"FAILED: {words}")

    def _live(self, workdir: Path, started: float, before: int) -> None:
        """One run from its first start to its end, comparison included."""
        cache = self.bench.cache if self._begun % _AFRESH else workdir.with_suffix(".compiled")
        fault: Fault | None = None
        while True:
            sound = newest(workdir)
            with SmallRun(
                workdir, workdir.with_suffix(".logs"), processes=self.processes, cache=cache
            ) as run:
                last, fault = fault, None
                number = len(self.faults)
                if number < self.count:
                    seed = [self.bench.seed, *self.name.encode(), self._starts]
                    fault = self.strike(run, np.random.default_rng(seed), number)
                self._starts += 1
                since = time.monotonic()
                statuses = run.wait(_WHOLE_RUN if fault is None else fault.limit)
            continued = _continued(run)
            if last is not None and continued is not None:
                last.lost = max(0, last.recorded - continued)
            finished = statuses == [0] * self.processes
            phase = "ending" if finished else phase_of(run)
            beyond = finished or phase not in ("start-up", "compilation")
            if continued != (sound or None) and (continued is not None or beyond):
                raise Failure(
                    f"it went on from step {continued}; the newest checkpoint was that of {sound}"
                )
            if finished:
                self.bench.took(sound, run.seconds)
                break
            if fault is None:
                raise Failure(f"it ended with {statuses}: {_last_line(run)}")
            fault.ended = time.monotonic() - since
            fault.phase, fault.recorded = phase, recorded(workdir)
            self.faults.append(fault)
            self._check(workdir, fault, statuses, run)
            self._say(fault, started, before)
        if found := differences(read_run(workdir), self.bench.references[self.processes]):
            raise Failure("; ".join(found))
        self.runs += 1

    def _check(
        self, workdir: Path, fault: Fault, statuses: Sequence[int | None], run: SmallRun
    ) -> None:
        """Looks at what a fault left."""
        if None in statuses:
            raise Failure(f"it had not ended {fault.limit:.0f} s later")
        if any(s not in (is_, None) for is_, s in zip(statuses, fault.statuses, strict=True)):
            raise Failure(f"it ended with {statuses}, not {fault.statuses}: {_last_line(run)}")
        for folder in ("checkpoints", "best"):
            for step in steps(workdir / folder):
                if wrong := damage(workdir / folder / str(step)):
                    raise Failure(f"{folder}/{step} has its final name and {wrong}")
        # A checkpoint may be in the making while the steps to the next one are taken.
        allowed = 0 if self.keeps else 2 * EVERY
        if (lost := fault.recorded - newest(workdir)) > allowed:
            raise Failure(f"{lost} steps are lost")

    def _say(self, fault: Fault, started: float, before: int) -> None:
        made = len(self.faults)
        each = (time.monotonic() - started) / (made - before)
        left = each * (self.count - made) / 60
        self.bench.say(
            f"[{self.name} {made} of {self.count}] {fault.what}, {fault.phase}, step "
            f"{fault.recorded}; about {left:.0f} min left of these"
        )

    def summary(self) -> dict[str, Any]:
        """What came of it, JSON-able."""
        lost = [fault.lost for fault in self.faults if fault.lost is not None]
        return {
            "asked": self.count,
            "made": len(self.faults),
            "runs_found_the_same": self.runs,
            "phases": dict(Counter(fault.phase for fault in self.faults).most_common()),
            "steps_made_again": {"total": sum(lost), "most": max(lost, default=0)},
            "longest_end_seconds": round(max((f.ended for f in self.faults), default=0.0), 2),
            "failures": self.failures,
        }


def recorded(workdir: Path) -> int:
    """The last step in a run's records."""
    return max((line["step"] for line in _lines(workdir)), default=0)


def _lines(workdir: Path) -> list[dict[str, Any]]:
    """The whole lines of the records."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def phase_of(run: SmallRun) -> str:
    """What a run, now dead, was doing, by what it left."""
    workdir, began = run.workdir, time.time() - run.seconds
    if "work directory" not in run.printed():
        return "start-up"
    unfinished = [p for part in ("checkpoints", "best") for p in (workdir / part).glob("*tmp*")]
    if any(path.stat().st_mtime > began for path in unfinished):
        return "saving"
    lines, metrics = _lines(workdir), workdir / "metrics.jsonl"
    if not lines or metrics.stat().st_mtime < began:
        return "compilation"
    last = lines[-1]
    if last["kind"] == "train":
        return "training" if last["step"] > (_continued(run) or 0) else "compilation"
    if last["kind"] == "epoch":
        return "evaluation"
    return "ending" if newest(workdir) == STEPS else "between epochs"


def _continued(run: SmallRun) -> int | None:
    """The step that a start said that it went on from."""
    found = re.search(r"^Continuing from step (\d+)\.", run.printed(), re.MULTILINE)
    return int(found[1]) if found else None


def _last_line(run: SmallRun) -> str:
    return " | ".join(
        (text.strip().splitlines() or ["nothing printed"])[-1]
        for text in map(run.printed, range(len(run.processes)))
    )
