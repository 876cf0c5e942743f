"""Damage to a checkpoint's files after they were written: it is noticed, and the run goes on."""

import dataclasses
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.faults import moments
from experiments.faults.bench import Bench
from experiments.faults.same_run import differences, read_run, steps
from experiments.faults.series import Failure
from experiments.faults.small_run import SmallRun
from experiments.faults.traces import continued, last_lines, newest
from jaxcnn.training.checkpoint_folder import FOLDERS
from jaxcnn.training.checkpoints import damage
from jaxcnn.training.ending import AGAIN

Harm = Callable[[Path, np.random.Generator], None]


def flip(path: Path, random: np.random.Generator) -> None:
    """Turns one bit or more of one byte."""
    data = bytearray(path.read_bytes())
    data[random.integers(len(data))] ^= int(random.integers(1, 256))
    path.write_bytes(data)


def truncate(path: Path, random: np.random.Generator) -> None:
    """Leaves a beginning, which may be nothing."""
    path.write_bytes(path.read_bytes()[: random.integers(path.stat().st_size)])


def delete(path: Path, random: np.random.Generator) -> None:
    """Leaves nothing, not even the name."""
    del random
    path.unlink()


_HARMS: tuple[Harm, ...] = (flip, truncate, delete)


@dataclasses.dataclass
class Damage:
    """Damage to the newest checkpoint of a run that was stopped.

    Attributes:
      bench: what all faults share.
      flips: how many single bytes are changed, one at a time, and looked for.
      restarts: with how many damaged checkpoints the run is really started again.
      noticed: how many of each kind of damage were.
      made: how many there were of each.
      restarted: how many restarts ended as the undisturbed run.
      failures: what went wrong.
    """

    bench: Bench
    flips: int
    restarts: int
    noticed: dict[str, int] = dataclasses.field(default_factory=dict)
    made: dict[str, int] = dataclasses.field(default_factory=dict)
    restarted: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)

    def make(self) -> None:
        """Does the damage."""
        random = np.random.default_rng([self.bench.seed, *b"damage"])
        self.bench.reference(1)
        stopped = self._stopped()
        self._flip_and_look(stopped, random)
        for number in range(self.restarts):
            workdir = self.bench.folder / f"damage-{number}"
            shutil.copytree(stopped, workdir)
            harm = _HARMS[number % len(_HARMS)]
            try:
                path = self._harmed(workdir, harm, random)
                self._restart(workdir, path)
                self.restarted += 1
                self.bench.say(
                    f"[damaged restart {number + 1} of {self.restarts}] {harm.__name__} "
                    f"{path.name}: noticed, and the run ended as it should"
                )
            except Failure as failure:
                self._fail(f"{harm.__name__}, in {workdir}: {failure}")
        if self.restarts:
            self._none_left(stopped, random)

    def _fail(self, words: str) -> None:
        self.failures.append(f"damage of seed {self.bench.seed}: {words}")
        self.bench.say(f"FAILED: {self.failures[-1]}")

    def _stopped(self) -> Path:
        """A run that was asked to stop within its second epoch."""
        workdir = self.bench.folder / "damage"
        workdir.mkdir()
        with self._start(workdir) as run:
            moments.event(run, moments.record_of(run, "train"), 5)
            run.send(signal.SIGTERM)
            if run.wait(60) != [AGAIN]:
                raise Failure(f"a run could not be stopped: {last_lines(run)}")
        return workdir

    def _start(self, workdir: Path) -> SmallRun:
        return SmallRun(workdir, workdir.with_suffix(".logs"))

    def _flip_and_look(self, stopped: Path, random: np.random.Generator) -> None:
        """One byte at a time of all files, each as often; then each file cut, and each gone."""
        folder = _newest(stopped)
        if wrong := damage(folder):
            self._fail(f"{folder} is whole, and is said to be damaged: {wrong}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        filled = [path for path in files if path.stat().st_size]
        tries = [(flip, filled[number % len(filled)]) for number in range(self.flips)]
        if self.flips:
            tries += [(truncate, path) for path in filled] + [(delete, path) for path in files]
        for harm, path in tries:
            whole, name = path.read_bytes(), harm.__name__
            harm(path, random)
            found = damage(folder)
            path.write_bytes(whole)
            self.made[name] = self.made.get(name, 0) + 1
            if found is None:
                self._fail(f"{name} of {path.relative_to(folder)} is not noticed")
            else:
                self.noticed[name] = self.noticed.get(name, 0) + 1
        for name, made in self.made.items():
            self.bench.say(f"[damage] {name}: {self.noticed.get(name, 0)} of {made} noticed")

    def _harmed(self, workdir: Path, harm: Harm, random: np.random.Generator) -> Path:
        """Damages a random file of the newest checkpoint; gives its path."""
        files = [p for p in sorted(_newest(workdir).rglob("*")) if p.is_file() and p.stat().st_size]
        path = files[random.integers(len(files))]
        harm(path, random)
        return path

    def _restart(self, workdir: Path, path: Path) -> None:
        """Starts a run again whose newest checkpoint is damaged, and looks at its end."""
        before, damaged = steps(workdir / FOLDERS[0])[-2], _newest(workdir)
        left = _contents(damaged)
        with self._start(workdir) as run:
            if run.wait(600) != [0]:
                raise Failure(f"it did not end: {last_lines(run)}")
            if str(damaged) not in run.printed() or "damaged" not in run.printed():
                raise Failure(f"nothing is said of the damage to {path}")
            if continued(run) != before:
                raise Failure(f"it went on from step {continued(run)}, not {before}")
        aside = damaged.with_name(f"{damaged.name}.damaged")
        if not aside.is_dir() or _contents(aside) != left:
            raise Failure(f"{aside} is not the damaged checkpoint as it was")
        if found := differences(read_run(workdir), self.bench.reference(1)):
            raise Failure("; ".join(found))

    def _none_left(self, stopped: Path, random: np.random.Generator) -> None:
        """Damages every checkpoint there is: the run must not begin anew."""
        workdir = self.bench.folder / "damage-all"
        shutil.copytree(stopped, workdir)
        for folder in FOLDERS:
            for step in steps(workdir / folder):
                flip(workdir / folder / str(step) / "state" / "_METADATA", random)
        with self._start(workdir) as run:
            statuses, printed = run.wait(60), run.printed()
        if statuses != [2] or not re.search(r"--config\.restart=True", last_lines(run)):
            self._fail(f"no whole checkpoint was left in {workdir}, and it ended with {statuses}")
        if "Traceback" in printed:
            self._fail(f"no whole checkpoint was left in {workdir}: a traceback")

    def summary(self) -> dict[str, Any]:
        """What came of it, JSON-able."""
        return {
            "made": self.made,
            "noticed": self.noticed,
            "restarts": self.restarts,
            "runs_the_same": self.restarted,
            "failures": self.failures,
        }


def _newest(workdir: Path) -> Path:
    return workdir / FOLDERS[0] / str(newest(workdir))


def _contents(folder: Path) -> dict[Path, bytes]:
    """The files of a folder by their path in it."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
