"""The watchdog: a run that no longer moves ends, and says what it was waiting for."""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator

from jaxcnn.training.activity import Activity, Present, Timeline

# How long these take has no bound: a large data set's statistics, a large network's compilation.
UNBOUNDED = frozenset({Activity.START_UP, Activity.COMPILATION})

# When Python itself cannot run, as code that holds its lock hangs: so much later it ends anyway.
_LAST_RESORT = 60
# A watcher that looks so many seconds late was stopped, or the machine slept: nothing hangs yet.
_ASLEEP = 5


@contextlib.contextmanager
def watched(
    timeline: Timeline, limit: float | None, end: Callable[[str], object], *, every: float = 1.0
) -> Iterator[None]:
    """Within it, an activity that lasts longer than a limit ends the process.

    The stacks of all threads go to stderr before. Start-up and compilation may last.

    Args:
      timeline: what the run is doing.
      limit: seconds; None for no limit.
      end: is told in a sentence what took how long, and ends the process.
      every: seconds between two looks.
    """
    if limit is None:
        yield
        return
    over = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(timeline, limit, end, every, over), name="watchdog", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        faulthandler.cancel_dump_traceback_later()


def _watch(
    timeline: Timeline,
    limit: float,
    end: Callable[[str], object],
    every: float,
    over: threading.Event,
) -> None:
    stderr = sys.__stderr__  # what may stand in its place has no file descriptor
    assert stderr is not None
    looked = awake = time.monotonic()
    while not over.wait(every):
        faulthandler.dump_traceback_later(limit + _LAST_RESORT, exit=True, file=stderr)
        before, looked = looked, time.monotonic()
        if looked - before > every + _ASLEEP:
            awake = looked
        present = timeline.present
        if exceeded(present, limit, since=max(present.since, awake), now=looked):
            print(f"\n{present.detail} takes too long; the stacks of all threads:", file=stderr)
            faulthandler.dump_traceback(file=stderr, all_threads=True)
            end(f"{present.detail} has not come to an end within {limit:g} s")
            return


def exceeded(present: Present, limit: float, *, since: float, now: float) -> bool:
    """Whether an activity has lasted longer than it may; times are those of one clock."""
    return present.activity not in UNBOUNDED and now - since > limit
