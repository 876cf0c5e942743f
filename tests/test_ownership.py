"""A work directory belongs to one live run; a second is told whose it is, and changes nothing."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from experiments import checkpoints as command
from experiments.ownership import LOCK, Ownership, refuse_if_owned
from experiments.run import main
from experiments.vgg_imagenet import RECIPE
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from experiments.ownership import Ownership

with Ownership() as ownership:
    ownership.take(Path(sys.argv[1]))
    forked = os.fork() or time.sleep(600)
    spawned = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    print(forked, spawned.pid, flush=True)
    time.sleep(600)
"""


def hold(path):
    """A process that has taken a folder, and the numbers of two that it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    return process, [int(number) for number in process.stdout.readline().split()]


def test_another_process_is_named_and_its_death_frees(tmp_path):
    holder, workers = hold(tmp_path)
    words = rf"{tmp_path} is in use by another run \(process {holder.pid} on \S+, since 20.*\)"
    with Ownership() as ours:
        for attempt in (refuse_if_owned, ours.take):
            with pytest.raises(UserError, match=words):
                attempt(tmp_path)
        os.kill(holder.pid, signal.SIGSTOP)  # it is alive
        with pytest.raises(UserError, match=words):
            ours.take(tmp_path)
        holder.kill()
        holder.wait()
        holder.stdout.close()
        # Those that it started live on, and have not inherited it.
        refuse_if_owned(tmp_path)
        assert ours.take(tmp_path) is True
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
    assert not any(tmp_path.iterdir())


def test_it_is_held_while_the_folder_is_renamed_and_let_go_for_another(tmp_path):
    first, renamed = tmp_path / "run", tmp_path / "run.old"
    first.mkdir()
    with Ownership() as ours:
        assert ours.take(first)
        assert ours.take(first) is False
        first.rename(renamed)
        with pytest.raises(UserError, match="in use"):
            Ownership().take(renamed)
        first.mkdir()
        assert ours.take(first)
        assert not any(renamed.iterdir())
        with Ownership() as other:
            assert other.take(renamed)
            with pytest.raises(UserError, match="in use"):
                other.take(first)


def test_a_lock_that_was_just_removed_is_not_the_lock(tmp_path, monkeypatch):
    """Its owner ends between our opening of the file and our locking it."""
    first, second = Ownership(), Ownership()
    first.take(tmp_path)
    opened, ended = os.open, []

    def open_and_wait(path, flags, *mode, **at):
        descriptor = opened(path, flags, *mode, **at)
        if path == LOCK and not ended:
            ended.append(True)
            first.__exit__()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_wait)
    second.take(tmp_path)
    monkeypatch.undo()
    assert ended
    with pytest.raises(UserError, match="in use"):
        first.take(tmp_path)
    second.__exit__()


def test_a_damaged_or_empty_lock_is_a_lock(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff[")
    with Ownership() as ours:
        ours.take(tmp_path)
        (tmp_path / LOCK).write_bytes(b"\xff[")
        with pytest.raises(UserError, match="in use by another run; wait"):
            refuse_if_owned(tmp_path)


QUICK = (
    "--config=digits",
    "--config.model.width=4",
    "--config.model.hidden=8",
    "--config.train.epochs=1",
    "--config.train.batch_size=256",
    "--config.schedule.warmup_epochs=0",
    "--config.data.threads=1",
)


def contents(folder):
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def test_a_run_in_use_is_left_alone(tmp_path, capfd):
    workdir = tmp_path / "run"
    arguments = [*QUICK, f"--config.workdir={workdir}"]
    assert main(RECIPE, arguments) == 0
    capfd.readouterr()
    with Ownership() as live:
        live.take(workdir)
        before = contents(tmp_path)
        for more in ([], ["--config.restart=True"], ["--config.seed=5"]):
            assert main(RECIPE, [*arguments, *more]) == 2
            errors = capfd.readouterr().err
            sentence = (
                rf"vgg_imagenet: the work directory {workdir} is in use by another run "
                rf"\(process {os.getpid()} on \S+, since [-\d: ]+\); .*\n"
            )
            assert re.fullmatch(sentence, errors)
        assert command.main([f"--workdir={workdir}"], Output()) == 0
        assert contents(tmp_path) == before
    # A process that was killed leaves the file, which then is nobody's.
    (workdir / LOCK).write_text("{}")
    assert main(RECIPE, arguments) == 0
    assert "This run is finished." in capfd.readouterr().out
    assert main(RECIPE, [*arguments, "--config.restart=True"]) == 0
    assert not (workdir / LOCK).exists()
    (old,) = (path for path in tmp_path.iterdir() if path != workdir)
    assert (old / "result.json").exists()
    assert not (old / LOCK).exists()


def test_two_that_begin_at_once(tmp_path, capfd, monkeypatch):
    """Another run makes the folder, runs and ends between our look at it and our making it."""
    workdir = tmp_path / "run"
    arguments = [*QUICK, f"--config.workdir={workdir}"]
    from experiments import run

    make = run._make

    def make_late(ours):
        monkeypatch.undo()
        assert main(RECIPE, arguments) == 0
        make(ours)

    monkeypatch.setattr(run, "_make", make_late)
    assert main(RECIPE, arguments) == 2
    assert "start the same command again" in capfd.readouterr().err
    assert (workdir / "result.json").exists()
    assert not list(workdir.glob(".*"))
