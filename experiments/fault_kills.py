"""Kills: at random instants, and at the very moment at which a file is made or written."""

import signal
from collections.abc import Callable

import numpy as np

from experiments.fault_series import Bench, Fault, Strike, newest
from experiments.small_run import SmallRun
from experiments.watching import Event, Watch

_POLL = 0.2  # seconds between two looks at whether a run has ended by itself
_CHECKPOINTS = ("checkpoints", "best")


def at_random(bench: Bench) -> Strike:
    """At an instant uniform over what is left of the run, start-up and compilation included."""

    def strike(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
        del number
        delay = random.uniform(0, bench.left(newest(run.workdir)))
        while (left := delay - run.seconds) > 0:
            run.wait(min(left, _POLL))
            if run.ended:
                return None
        return _kill(run, "SIGKILL")

    return strike


def at_a_file(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """At the creation of a file in a save, of the first hundred or so from a start on."""
    del number

    def is_one(event: Event) -> bool:
        return event.kind == "created" and not event.is_folder and _in_a_save(event)

    return at_event(run, is_one, int(random.integers(1, 100)))


def at_a_manifest(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """At its creation, its closing, or the rename that makes its checkpoint count, in turn."""
    kind = ("created", "closed", "moved")[number % 3]

    def is_one(event: Event) -> bool:
        if event.kind != kind or not _in_a_save(event):
            return False
        if kind == "moved":
            return event.is_folder and len(event.path.parts) == 2 and event.path.name.isdigit()
        return event.path.name == "manifest.json"

    return at_event(run, is_one, int(random.integers(1, 5)))


def at_a_record(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
    """At the making or the growing of any file that is not of a checkpoint."""
    del number

    def is_one(event: Event) -> bool:
        return not event.is_folder and not _in_a_save(event)

    return at_event(run, is_one, int(random.integers(1, 80)))


def _in_a_save(event: Event) -> bool:
    return event.path.parts[0] in _CHECKPOINTS


def at_event(run: SmallRun, is_one: Callable[[Event], bool], count: int) -> Fault | None:
    """At the ``count``-th event of a kind since the start."""
    with Watch(run.workdir) as watch:
        while not run.ended:
            for event in watch.events(_POLL):
                count -= is_one(event)
                if count == 0:
                    return _kill(run, f"SIGKILL when {event.path} was {event.kind}")
    return None


def _kill(run: SmallRun, what: str) -> Fault:
    run.send(signal.SIGKILL)
    seconds = run.seconds
    statuses = [-signal.SIGKILL] * len(run.processes)
    return Fault(f"{what}, {seconds:.2f} s after the start", seconds, statuses)
