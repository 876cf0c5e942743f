"""Looks at every process of a run before the run: what would be wrong, and where.

    python -m experiments.preflight vgg_imagenet --config=digits

It is started as the training would be, with its options and by its launcher, and looks at the
command and the versions, the devices, the data, the work directory and its disk, the clock, and at
a sum over all devices. Process 0 says what all of them found; the exit status is 0 when all is
well and 2 when it is not. Nothing is left in the work directory.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import environment
from experiments.any_recipe import asked_for
from experiments.config import Experiment
from experiments.ownership import Ownership
from experiments.parts import Parts, make_parts
from experiments.preflight.checks import (
    Examiner,
    devices_seen,
    disk_seen,
    existing,
    gpus_there,
    mark_seen,
    marked,
    splits_seen,
    sums_seen,
)
from experiments.preflight.verdict import Report, facts, mistakes, warnings
from experiments.run import check_same_command, set_up_jax, workdir_of
from experiments.workdir import Workdir
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.training.activity import Timeline
from jaxcnn.training.bucket import Bucket
from jaxcnn.training.interruption import StopRequest
from jaxcnn.training.processes import from_first, joined, to_first, wait_for_all


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status: 0, or 2 where something is wrong."""
    return run_main(_command, "preflight", sys.argv[1:] if argv is None else argv)


def _command(arguments: Sequence[str], output: Output) -> int:
    asked = asked_for("preflight", arguments, description=str(__doc__))
    if asked is None:
        return 0
    return preflight(asked.config, asked.recipe, asked.preset, output)


def preflight(config: Experiment, recipe: str, preset: str, output: Output) -> int:
    """Looks at all that the run would need; returns 0.

    Args:
      config: the run's whole configuration.
      recipe: the name of its command.
      preset: the name of its preset.
      output: where what is found goes.

    Raises:
      UserError: something is wrong, of which process 0 has printed what and where.
    """
    config.check()
    timeline, stop = Timeline(), StopRequest()
    with stop.listening():
        set_up_jax(config.parallel)
        with joined(config.parallel, timeline, stop):
            own = _look(config, recipe, preset, Examiner(timeline, config.parallel.timeout))
            reports = _of_all(own)
            wrong = from_first(lambda: _say(reports, workdir_of(config, recipe, preset), output))
            if wrong:
                raise UserError(
                    f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong, as process 0 has "
                    "printed; the run would not go well."
                )
    return 0


def _of_all(own: Any) -> list[Any]:
    """What every process gives, on every process; JSON-able."""
    given = to_first(json.dumps(own).encode())
    return from_first(lambda: [json.loads(each) for each in given])


def _look(config: Experiment, recipe: str, preset: str, examiner: Examiner) -> Report:
    """What this process finds; every process calls it."""
    wait_for_all()
    clock = time.time()  # all read it at one moment
    examiner.look("the command", lambda: check_same_command(config))
    devices = examiner.look("the devices", devices_seen)
    parts = None if devices is None else examiner.look("the data", lambda: make_parts(config))
    splits = None
    if parts is not None:
        splits = examiner.look("the images", lambda: splits_seen(parts.data, config.data))
    disk = _look_at_disk(config, workdir_of(config, recipe, preset), parts, examiner)
    if (address := config.checkpoint.bucket) is not None and jax.process_index() == 0:
        examiner.look("the bucket", lambda: Bucket(address).check_writable())
    # Where the devices of one do not work, those of the others would wait for them.
    able = _of_all(devices is not None)
    return {
        "host": socket.gethostname(),
        "started": [recipe, preset],
        "versions": environment.versions(),
        "clock": clock,
        "devices": devices,
        "gpus": gpus_there(),
        "cores": len(os.sched_getaffinity(0)),
        "splits": splits,
        "disk": disk,
        "checkpoint": None if parts is None else parts.state_bytes,
        "sum": examiner.look("a sum over all devices", sums_seen) if all(able) else None,
        "wrong": examiner.wrong,
    }


def _look_at_disk(
    config: Experiment, path: Path, parts: Parts | None, examiner: Examiner
) -> dict[str, Any] | None:
    """What this process sees of the work directory, which must be the same one on all."""
    with Ownership() as ownership:
        workdir = Workdir(path, config, {} if parts is None else parts.facts, ownership)
        seen = examiner.look("the work directory", lambda: disk_seen(workdir, parts))
    # Of process 0; where it could not write, that is what is wrong.
    mark: str | None = from_first(
        lambda: None if seen is None else examiner.look("the disk", lambda: marked(path))
    )
    if mark is not None:
        if seen is not None:
            examiner.look("the disk", lambda: mark_seen(path, mark))
        wait_for_all()
        if jax.process_index() == 0:
            (existing(path) / mark).rmdir()
    return seen


def _say(reports: Sequence[Report], workdir: Path, output: Output) -> int:
    """Prints what all processes found, and returns how many things are wrong."""
    found = {
        "facts": facts(reports, workdir),
        "warnings": warnings(reports),
        "wrong": mistakes(reports),
    }
    lines = list(found["facts"])
    lines += [f"Warning: {sentence}" for sentence in found["warnings"]]
    lines += [f"Wrong: {sentence}" for sentence in found["wrong"]] or ["All is well."]
    output.result(found, "\n".join(lines))
    return len(found["wrong"])
