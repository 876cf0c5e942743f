"""Requests to stop by SIGTERM, at chosen moments of a run in one process or several."""

import signal
import time

import numpy as np

from experiments.faults import moments
from experiments.faults.bench import Bench
from experiments.faults.series import Fault, Strike
from experiments.faults.small_run import SmallRun
from experiments.faults.traces import said
from jaxcnn.training.ending import AGAIN

_LIMIT = 30  # seconds within which a run stops
# The last one takes longest where programs are compiled anew, which is every fifth start.
_MOMENTS = ("start-up", "training", "evaluation", "saving", "compilation")


def at_a_moment(bench: Bench) -> Strike:
    """At a random instant within each moment in turn; of several processes one is asked."""

    def strike(run: SmallRun, random: np.random.Generator, number: int) -> Fault | None:
        moment = _MOMENTS[number % len(_MOMENTS)]
        if not _comes(moment, run, random, bench):
            return None
        count, early = len(run.processes), not said(run)
        process = int(random.integers(count))
        # One that has not met the others yet cannot speak for them, and before that the
        # interpreter and its imports do not even answer.
        run.send(signal.SIGTERM, None if early else [process])
        to = f" to process {process}" if count > 1 and not early else ""
        may = {AGAIN, -signal.SIGTERM} if early else {AGAIN}
        return Fault(f"SIGTERM{to}", run.seconds, [may] * count, _LIMIT, moment)

    return strike


def _comes(moment: str, run: SmallRun, random: np.random.Generator, bench: Bench) -> bool:
    """Waits for a moment; False when the run ended before."""
    if moment == "start-up":
        return moments.after(run, random.uniform(0, bench.first_line * bench.slowness))
    if moment == "compilation":
        while not said(run) and not run.ended:
            time.sleep(0.005)
        length = (bench.begin - bench.first_line) * bench.slowness
        return moments.after(run, random.uniform(0, length))
    sign, most = {
        "training": (moments.record_of(run, "train"), 6),
        "evaluation": (moments.record_of(run, "epoch"), 2),
        "saving": (moments.file_of_a_save, 60),
    }[moment]
    if moments.event(run, sign, int(random.integers(1, most))) is None:
        return False
    # Somewhere in a step, in an evaluation step, between two files.
    return moments.after(run, random.uniform(0, 0.05))
