"""What a run is doing, at this moment and in sum: one account for three readers.

The watchdog asks how long the present activity has lasted, the other processes what it is, and
the goodput what all of them took together.
"""

import enum
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Activity(enum.StrEnum):
    """What wall time goes to; the values are the names in the records."""

    START_UP = "start_up"
    COMPILATION = "compilation"
    DATA = "data"
    STEPS = "steps"
    REPEATED_STEPS = "repeated_steps"
    EVALUATION = "evaluation"
    SAVING = "saving"


class Present(NamedTuple):
    """What the main thread is doing.

    Attributes:
      activity: the kind.
      detail: what it is or waits for, in words, such as ``'step 12'``.
      since: when it began, or went on after another one within it; seconds of a clock.
    """

    activity: Activity
    detail: str
    since: float


class Timeline:
    """The activities of one start of a run, one after another and one within another.

    Only the thread that it belongs to enters activities; any thread may look.

    Args:
      began: when the start began, in seconds of ``clock``; None for now.
      clock: seconds from any origin, never set back.
    """

    def __init__(
        self, began: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._spent = dict.fromkeys(Activity, 0.0)
        since = clock() if began is None else began
        self._present = Present(Activity.START_UP, "the start", since)

    @property
    def present(self) -> Present:
        """What is being done now."""
        return self._present

    @contextmanager
    def doing(self, activity: Activity, detail: str) -> Iterator[None]:
        """Spends the time within it on an activity, and none of it on the one around it."""
        outer = self._present
        self._enter(activity, detail)
        try:
            yield
        finally:
            self._enter(outer.activity, outer.detail)

    def turn_to(self, activity: Activity, detail: str) -> None:
        """Ends the present activity for good and begins another one."""
        self._enter(activity, detail)

    def _enter(self, activity: Activity, detail: str) -> None:
        now = self._clock()
        self._spent[self._present.activity] += now - self._present.since
        self._present = Present(activity, detail, now)

    @contextmanager
    def reading(
        self,
        batches: AbstractContextManager[Iterator[T]],
        activity: Activity,
        what: str,
        first: int = 0,
    ) -> Iterator[Iterator[T]]:
        """The same batches; the time until each of them is there is spent on ``activity``.

        Args:
          batches: what is waited for.
          activity: the kind.
          what: the words that come before a batch's number.
          first: the number of the first batch.
        """
        with batches as stream:
            yield self._waiting(stream, activity, what, first)

    def _waiting(
        self, stream: Iterator[T], activity: Activity, what: str, number: int
    ) -> Iterator[T]:
        while True:
            with self.doing(activity, f"{what} {number}"):
                try:
                    batch = next(stream)
                except StopIteration:
                    return
            yield batch
            number += 1

    def spent(self) -> dict[str, float]:
        """Seconds by activity since the start began, the present one's included."""
        present = self._present
        spent = {activity.value: seconds for activity, seconds in self._spent.items()}
        spent[present.activity.value] += self._clock() - present.since
        return spent


def process_began() -> float:
    """When this process was started, before any of its imports, by ``time.monotonic``; Linux."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age
