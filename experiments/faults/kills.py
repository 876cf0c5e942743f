"""Kills: at random instants, and at the very moment at which a file is made or written."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.faults import moments
from experiments.faults.bench import Bench
from experiments.faults.series import Fault, Strike
from experiments.faults.small_run import SmallRun
from experiments.faults.traces import newest
from experiments.faults.watching import Event


def at_random(bench: Bench) -> Strike:
    """At an instant uniform over what is left of the run, start-up and compilation included."""

    def strike(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
        del number
        delay = random.uniform(0, bench.left(newest(run.workdir)))
        return _kill(run, "SIGKILL") if moments.after(run, delay) else None

    return strike


def at_a_file(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """At the creation of a file in a save, of the first hundred or so since the start."""
    del number
    return _at(run, moments.file_of_a_save, int(random.integers(1, 100)))


def at_a_manifest(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """At its creation, its closing, or the rename that makes its checkpoint count, in turn."""
    kind = ("created", "closed", "moved")[number % 3]

    def is_one(event: Event) -> bool:
        if event.kind != kind or not moments.in_a_save(event):
            return False
        if kind == "moved":
            return event.is_folder and len(event.path.parts) == 2 and event.path.name.isdigit()
        return event.path.name == "manifest.json"

    return _at(run, is_one, int(random.integers(1, 5)))


def at_a_record(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """When a step, an epoch before its evaluation, or an evaluation is recorded, in turn.

    Every fourth is at the making or the growing of any file that is not of a checkpoint.
    """
    kind = ("train", "epoch", "eval", None)[number % 4]
    if kind is not None:
        most = 6 if kind == "train" else 2
        return _at(run, moments.record_of(run, kind), int(random.integers(1, most)))

    def is_one(event: Event) -> bool:
        return not event.is_folder and not moments.in_a_save(event)

    return _at(run, is_one, int(random.integers(1, 80)))


def _at(run: SmallRun, is_one: Callable[[Event], bool], count: int) -> Fault | None:
    event = moments.event(run, is_one, count)
    return None if event is None else _kill(run, f"SIGKILL, {_brief(event.path)} {event.kind}")


def _brief(path: Path) -> str:
    """A path without the folders between its first two parts and its name."""
    if len(path.parts) <= 3:
        return path.as_posix()
    return "/".join((*path.parts[:2], "...", path.name))


def _kill(run: SmallRun, what: str) -> Fault:
    run.send(signal.SIGKILL)
    return Fault(what, run.seconds, [{-signal.SIGKILL}] * len(run.processes))
