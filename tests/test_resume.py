"""A run that is stopped, or hangs, and is started again is the run that never was: to the bit.

One that is killed is for test_faults.py.
"""

import signal
from pathlib import Path

import pytest
from command_run import assert_same_run, finish, steps, wait_for_records

from experiments.faults.small_run import start


def start_disturbed(workdir, moment, *extra):
    """A process of the command that is disturbed at a moment of disturbed_run.py."""
    program = (str(Path(__file__).with_name("disturbed_run.py")), moment)
    return start(workdir, *extra, program=program)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    finish(start(workdir))
    return workdir


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)]
)
def test_asked_to_stop_it_saves_and_continues(number, undisturbed, tmp_path):
    workdir = tmp_path / "stopped"
    process = start(workdir, "--config.checkpoint.every_steps=None")
    wait_for_records(workdir, [process])
    process.send_signal(number)
    output = finish(process, status=75)
    assert f"Stopped at step {steps(workdir)[-1]}; the same command" in output
    # Which steps had a checkpoint changes nothing in the numbers.
    finish(start(workdir))
    assert_same_run(workdir, undisturbed)


def test_a_batch_that_never_comes_ends_the_run(undisturbed, tmp_path):
    workdir = tmp_path / "hung"
    process = start_disturbed(workdir, "hang:14", "--config.train.hang_limit=3")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    words = "the batch of step 14 has not come to an end within 3 s (train.hang_limit)"
    assert words in errors.splitlines()[-1]
    assert "never_comes" in errors  # the thread that reads it
    assert "in _waiting" in errors  # and the one that waits
    assert "Continuing from step 12." in finish(start(workdir))
    assert_same_run(workdir, undisturbed)


def test_asked_to_stop_with_nothing_to_save_it_ends_at_once(undisturbed, tmp_path):
    workdir = tmp_path / "stopped"
    process = start_disturbed(workdir, "compilation")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75
    assert errors == (
        "Stopped before there was anything to save; the same command goes on from there.\n"
    )
    assert not (workdir / "metrics.jsonl").exists()
    finish(start(workdir))
    assert_same_run(workdir, undisturbed)


def test_a_finished_run_prints_its_result(undisturbed):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    output = finish(start(undisturbed))
    assert "This run is finished." in output
    assert "top-1 accuracy" in output
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before


@pytest.mark.full
def test_worker_processes_change_nothing(undisturbed, tmp_path):
    finish(start(tmp_path / "workers", "--config.data.workers=2"))
    assert_same_run(tmp_path / "workers", undisturbed)
