"""The loss of one process of two: it is killed, or hangs."""

import re
import signal

import numpy as np

from experiments.faults import moments
from experiments.faults.series import Failure, Fault, Strike
from experiments.faults.small_run import SmallRun
from jaxcnn.training.ending import AGAIN


def of_a_process(number: signal.Signals, limit: float) -> Strike:
    """One of them gets a signal in training, and the others must end and name it.

    Args:
      number: SIGKILL, or SIGSTOP for a process that hangs and comes back when all is over.
      limit: the seconds that the others have for it.
    """

    def strike(run: SmallRun, random: np.random.Generator, start: int) -> Fault | None:
        lost = start % len(run.processes)
        others = [process for process in range(len(run.processes)) if process != lost]
        sign = moments.record_of(run, "train")
        if moments.event(run, sign, int(random.integers(1, 6))) is None:
            return None
        sent = run.seconds
        run.send(number, [lost])
        statuses = run.wait(limit, others)
        ended = run.seconds - sent
        run.send(signal.SIGCONT, [lost])
        name = f"process {lost}"
        for process, status in zip(others, statuses, strict=True):
            if status is None:
                raise Failure(
                    f"{name} got {number.name}; {limit:.0f} s later process {process} had not ended"
                )
            if not re.search(rf"{name}\b", run.printed(process)):
                raise Failure(f"{name} got {number.name}, and process {process} does not name it")
        may = [{AGAIN} for _ in run.processes]
        if number == signal.SIGKILL:
            may[lost] = {-signal.SIGKILL}
        return Fault(f"{number.name} to {name}", sent, may, ended=ended)

    return strike
