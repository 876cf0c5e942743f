"""A run that is killed or stopped, and started again, is the run that never was: to the bit."""

import signal

import pytest
from command_run import assert_same_run, finish, start, steps, wait_for_records


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    finish(start(workdir))
    return workdir


def test_five_kills(undisturbed, tmp_path):
    """Before the first checkpoint, in a step, a save, an evaluation, and between two epochs."""
    workdir = tmp_path / "killed"
    for moment in ("step:2", "save:2", "step:5", "evaluation:2", "between_epochs:1"):
        finish(start(workdir, moment=moment), status=-signal.SIGKILL)
    output = finish(start(workdir))
    assert "Continuing from step" in output
    assert_same_run(workdir, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
    process = start(workdir, "--config.train.hang_limit=3", moment="hang:14")
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
    process = start(workdir, moment="compilation:0")
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
