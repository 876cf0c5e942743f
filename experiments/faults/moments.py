"""Moments of a run to wait for, in seconds or by what happens to its files."""

from collections.abc import Callable

from experiments.faults.small_run import SmallRun
from experiments.faults.traces import records
from experiments.faults.watching import Event, Watch
from jaxcnn.training.checkpoint_folder import FOLDERS

_POLL = 0.2  # seconds between two looks at whether a run has ended by itself


def after(run: SmallRun, seconds: float) -> bool:
    """Waits so long; False when the run ended before."""
    end = run.seconds + seconds
    while not run.ended and (left := end - run.seconds) > 0:
        run.wait(min(left, _POLL), [0])
    return not run.ended


def event(run: SmallRun, is_one: Callable[[Event], bool], count: int) -> Event | None:
    """Waits for the ``count``-th of some events since now; None when the run ended before."""
    with Watch(run.workdir) as watch:
        while not run.ended:
            for event in watch.events(_POLL):
                count -= is_one(event)
                if count == 0:
                    return event
    return None


def in_a_save(event: Event) -> bool:
    """Whether it is of a checkpoint."""
    return event.path.parts[0] in FOLDERS


def file_of_a_save(event: Event) -> bool:
    """Whether a file of a checkpoint is made."""
    return event.kind == "created" and not event.is_folder and in_a_save(event)


def record_of(run: SmallRun, kind: str) -> Callable[[Event], bool]:
    """Whether a line of a kind was added to the records."""

    def is_one(event: Event) -> bool:
        if event.kind != "written" or event.path.name != "metrics.jsonl":
            return False
        return any(line["kind"] == kind for line in records(run.workdir)[-1:])

    return is_one
