"""What all faults share: the undisturbed runs, and how long a run takes here."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from experiments.faults.same_run import FinishedRun, differences, read_run
from experiments.faults.small_run import STEPS, SmallRun
from experiments.faults.traces import records, said
from jaxcnn.errors import UserError


@dataclasses.dataclass
class Bench:
    """The place of all runs.

    Attributes:
      folder: holds them.
      seed: of all that is random in the faults.
      say: shows a line of progress.
      first_line: seconds from the start of a process until it says where it works.
      begin: seconds from the start to its first record.
      whole: seconds of an undisturbed run.
      slowness: how much longer starts take of late, by what else the machine does.
    """

    folder: Path
    seed: int
    say: Callable[[str], None]
    first_line: float = 0
    begin: float = 0
    whole: float = 0
    slowness: float = 1
    _references: dict[int, FinishedRun] = dataclasses.field(default_factory=dict)

    def reference(self, processes: int) -> FinishedRun:
        """The undisturbed run of so many processes, made when it is first asked for.

        Raises:
          UserError: it failed, or a second one is another one.
        """
        if processes not in self._references:
            # The first compiles, which is no part of the times.
            first, second = (self._undisturbed(processes, part) for part in ("", "-again"))
            if wrong := differences(second, first):
                raise UserError(
                    f"two undisturbed runs, in {self.folder}, differ: {'; '.join(wrong)}."
                )
            self._references[processes] = second
        return self._references[processes]

    def _undisturbed(self, processes: int, part: str) -> FinishedRun:
        workdir = self.folder / f"undisturbed-{processes}{part}"
        logs = workdir.with_suffix(".logs")
        with SmallRun(workdir, logs, processes=processes) as run:
            first_line = begin = 0.0
            while not run.ended:
                time.sleep(0.005)
                if not first_line:
                    first_line = run.seconds * said(run)
                elif not begin:
                    begin = run.seconds * bool(records(workdir))
            if any(run.wait(60)):
                raise UserError(f"the undisturbed run failed; what it printed is in {logs}.")
            if processes == 1:
                self.first_line, self.begin, self.whole = first_line, begin, run.seconds
        return read_run(workdir)

    def left(self, step: int) -> float:
        """About how many seconds a start takes that goes on from a step to the end."""
        return self.slowness * (self.begin + (self.whole - self.begin) * (1 - step / STEPS))

    def took(self, step: int, seconds: float) -> None:
        """Learns from a start that went on from a step to the end in so many seconds."""
        self.slowness *= (seconds / self.left(step)) ** 0.5
