"""Real runs of a recipe's command, small ones: waited for, read and compared."""

import json
import time

from experiments.faults.same_run import differences, read_run
from experiments.faults.same_run import steps as steps_in


def finish(process, status=0):
    """What a process printed, once it has ended as it should."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, f"{output}\n{errors}"
    return output


def wait_for_records(workdir, processes, lines=1):
    """Returns when there are so many lines of metrics, or a process has ended too early."""
    records = workdir / "metrics.jsonl"
    while all(p.poll() is None for p in processes):
        if records.exists() and records.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)


def steps(workdir):
    """The steps of the newest checkpoints, oldest first."""
    return steps_in(workdir / "checkpoints")


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(workdir, reference):
    """Equal to the bit: the last and the best state, the records and the result."""
    assert differences(read_run(workdir), read_run(reference)) == []
