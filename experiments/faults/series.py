"""Faults of one kind, one after another, on runs that are compared when they end."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.faults.bench import Bench
from experiments.faults.same_run import differences, read_run
from experiments.faults.small_run import EVERY, SmallRun
from experiments.faults.traces import continued, last_lines, newest, phase_of, recorded, unsound

_WHOLE_RUN = 600  # seconds: none takes so long that does not hang
_AFRESH = 5  # every so manieth start compiles anew, or goes on with what such a start compiled
_ENOUGH = 3  # failures after which a series is given up
_IN_VAIN = 10  # runs in a row without a moment for a fault: it does not come


class Failure(Exception):  # noqa: N818 - it is what is looked for
    """A run did not do what it must."""


@dataclasses.dataclass
class Fault:
    """One that was made.

    Attributes:
      what: it in words.
      seconds: after the start of the processes.
      statuses: the exit statuses that each process may have.
      limit: how long they may take to end, in seconds.
      phase: what the run was doing; '' to find out by what it left.
      ended: what the processes took to end, in seconds; 0 to be measured.
      found: the exit statuses that the processes had; None of one that did not end.
      recorded: the last step in the run's records.
      lost: steps recorded that the next start made again; None where it never said so.
    """

    what: str
    seconds: float
    statuses: Sequence[Collection[int]]
    limit: float = 30
    phase: str = ""
    ended: float = 0
    found: Sequence[int | None] = ()
    recorded: int = 0
    lost: int | None = None


Strike = Callable[[SmallRun, np.random.Generator, int], Fault | None]
"""Waits for a moment of a start and makes the fault then; None: it ended before.

It is given the number of the start in the series. It may raise a Failure.
"""


@dataclasses.dataclass
class Series:
    """Faults of one kind.

    Attributes:
      bench: what all series share.
      name: the kind.
      count: how many are to be made.
      strike: makes one.
      processes: those of each run.
      keeps: whether no step may be lost, as when a run is asked to stop.
      faults: those made.
      runs: how many came to their end and were found the same.
      failures: what went wrong, and where to look.
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
        """Makes all the faults, unless too much fails."""
        reference = self.bench.reference(self.processes)
        began, in_vain = time.monotonic(), 0
        while len(self.faults) < self.count and len(self.failures) < _ENOUGH:
            made = len(self.faults)
            workdir = self.bench.folder / f"{self.name}-{self._begun}"
            workdir.mkdir()
            self._begun += 1
            try:
                self._live(workdir, began)
                if found := differences(read_run(workdir), reference):
                    raise Failure("; ".join(found))
                self.runs += 1
                in_vain = 0 if len(self.faults) > made else in_vain + 1
                if in_vain == _IN_VAIN:
                    raise Failure("its moment did not come")
            except Failure as failure:
                words = (
                    f"{self.name} of seed {self.bench.seed}, start {self._starts}, in {workdir}"
                    f" ({self.faults[-1].what if self.faults else 'no fault yet'}): {failure}"
                )
                self.failures.append(words)
                self.bench.say(f"FAILED: {words}")

    def _live(self, workdir: Path, began: float) -> None:
        """One run from its first start to its end."""
        last: Fault | None = None
        while True:
            done, sound, fault = (workdir / "result.json").exists(), newest(workdir), None
            with self._start(workdir) as run:
                if len(self.faults) < self.count:
                    seed = [self.bench.seed, *self.name.encode(), self._starts]
                    fault = self.strike(run, np.random.default_rng(seed), self._starts)
                self._starts += 1
                statuses = run.wait(_WHOLE_RUN if fault is None else fault.limit)
                seconds = run.seconds
            finished = not any(statuses) and None not in statuses
            went_on = continued(run)
            if last is not None and went_on is not None:
                last.lost = max(0, last.recorded - went_on)
            phase = "ending" if finished else phase_of(run)
            # One that was killed after its result was written only prints it.
            must_say = not done and (finished or phase not in ("start-up", "compilation"))
            if went_on != (sound or None) and (went_on is not None or must_say):
                raise Failure(f"it went on from step {went_on}; the newest checkpoint was {sound}")
            if finished:
                self.bench.took(sound, seconds)
                return
            if fault is None:
                raise Failure(f"it ended with {statuses}: {last_lines(run)}")
            fault.ended = fault.ended or seconds - fault.seconds
            fault.phase, fault.recorded = fault.phase or phase, recorded(workdir)
            fault.found = statuses
            self.faults.append(fault)
            self._check(workdir, fault, statuses, run)
            self._say(fault, began)
            last = fault

    def _start(self, workdir: Path) -> SmallRun:
        afresh = self._starts % _AFRESH == _AFRESH - 1
        cache = workdir.with_suffix(".compiled") if afresh else None
        logs = workdir.with_suffix(".logs")
        return SmallRun(workdir, logs, processes=self.processes, cache=cache)

    def _check(
        self, workdir: Path, fault: Fault, statuses: Sequence[int | None], run: SmallRun
    ) -> None:
        """Looks at what a fault left."""
        if None in statuses:
            raise Failure(f"it had not ended {fault.limit:.0f} s later")
        if any(is_ not in may for is_, may in zip(statuses, fault.statuses, strict=True)):
            raise Failure(f"it ended with {statuses}, not {fault.statuses}: {last_lines(run)}")
        if wrong := unsound(workdir):
            raise Failure(wrong)
        # A checkpoint may be in the making while the steps to the next one are taken.
        lost = fault.recorded - newest(workdir)
        if lost > (0 if self.keeps else 2 * EVERY):
            raise Failure(f"{lost} steps are lost")

    def _say(self, fault: Fault, began: float) -> None:
        made = len(self.faults)
        left = (time.monotonic() - began) / made * (self.count - made) / 60
        self.bench.say(
            f"[{self.name} {made} of {self.count}, about {left:.0f} min left of these] {fault.what}"
            f" after {fault.seconds:.2f} s, {fault.phase}, step {fault.recorded}, ended in "
            f"{fault.ended:.2f} s"
        )

    def summary(self) -> dict[str, Any]:
        """What came of it, JSON-able."""
        lost = [fault.lost for fault in self.faults if fault.lost is not None]
        return {
            "asked": self.count,
            "made": len(self.faults),
            "runs_the_same": self.runs,
            "phases": dict(Counter(fault.phase for fault in self.faults).most_common()),
            "statuses": dict(
                Counter(str(is_) for f in self.faults for is_ in f.found).most_common()
            ),
            "steps_made_again": {"total": sum(lost), "most": max(lost, default=0)},
            "longest_end_seconds": round(max((f.ended for f in self.faults), default=0.0), 2),
            "failures": self.failures,
        }
