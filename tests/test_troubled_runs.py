"""A run whose checkpoints are gone, whose disk is full or whose clock runs back: it says so, and
goes on exactly where it can.
"""

import contextlib
import errno
import gc
import itertools
import json
import os
import shutil
import subprocess
import time

import pytest
from command_run import assert_same_run, steps
from test_ownership import contents

from experiments import checkpoints as command
from experiments.run import main
from experiments.vgg_imagenet import RECIPE
from jaxcnn.cli.output import Output
from jaxcnn.files import writing
from jaxcnn.training import manifest
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.growing_file import GrowingFile
from jaxcnn.training.records import Records

pytestmark = pytest.mark.usefixtures("compile_quickly")

ARGUMENTS = (
    "--config=digits",
    "--config.model.name=lenet5",
    "--config.model.width=None",
    "--config.model.hidden=None",
    "--config.model.pooled_size=None",
    "--config.parallel.devices=1",
    "--config.train.epochs=3",
    "--config.train.batch_size=256",  # 5 steps an epoch
    "--config.schedule.warmup_epochs=0",
    "--config.data.threads=1",
    "--config.checkpoint.every_steps=4",
    "--config.checkpoint.keep=3",
)


def run(workdir, *changes, status=0):
    given = {change.partition("=")[0] for change in changes}
    kept = [a for a in ARGUMENTS if a.partition("=")[0] not in given]
    assert main(RECIPE, [*kept, f"--config.workdir={workdir}", *changes]) == status


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(workdir)
    return workdir


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """A copy of it as it was before the result was written."""
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    assert steps(tmp_path / "run") == [10, 12, 15]
    return tmp_path / "run"


def harm(folder, *which):
    for step in which or [p.name for p in folder.iterdir()]:
        file = next(p for p in (folder / str(step) / "state").rglob("*") if p.is_file())
        file.write_bytes(b"")


def test_the_newest_is_damaged(stopped, undisturbed, capfd):
    harm(stopped / "checkpoints", 15)
    run(stopped)
    output, errors = capfd.readouterr()
    assert "Continuing from step 12." in output
    assert f"Warning: the checkpoint {stopped}/checkpoints/15 is damaged: its file " in errors
    assert (stopped / "checkpoints" / "15.damaged").is_dir()
    assert_same_run(stopped, undisturbed)


def test_all_of_the_newest_are_damaged_or_gone_and_the_best_is_there(stopped, undisturbed, capfd):
    # As if it had been the best of all until now: it was.
    shutil.rmtree(stopped / "best" / "15")
    shutil.copytree(stopped / "checkpoints" / "10", stopped / "best" / "10")
    harm(stopped / "checkpoints")
    run(stopped)
    assert "Continuing from step 10." in capfd.readouterr().out
    assert {path.name for path in (stopped / "checkpoints").iterdir()} == {
        *("10", "12", "15"),
        *("10.damaged", "12.damaged", "15.damaged"),
    }
    assert_same_run(stopped, undisturbed)
    assert [path.name for path in (stopped / "best").iterdir()] == ["15"]
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints")
    run(stopped)
    assert "Continuing from step 15." in capfd.readouterr().out
    assert_same_run(stopped, undisturbed)


def test_the_best_is_damaged(stopped, capfd):
    (best,) = (stopped / "best").iterdir()
    harm(stopped / "best")
    run(stopped)
    output, errors = capfd.readouterr()
    assert "Continuing from step 15." in output
    assert f"Warning: the checkpoint {best} is damaged: its file " in errors
    assert (stopped / "best" / f"{best.name}.damaged").is_dir()


def refused(workdir, capfd):
    """It says so in one sentence and changes nothing, however often it is started."""
    before = contents(workdir)
    for _ in range(2):
        capfd.readouterr()
        run(workdir, status=2)
        *warnings, sentence = capfd.readouterr().err.splitlines()
        assert sentence == (
            f"vgg_imagenet: the run in {workdir} had checkpoints and no whole one is left; put one "
            "back, or start anew with --config.restart=True."
        )
        assert all(line.startswith("Warning: the checkpoint ") for line in warnings)
        after = contents(workdir)
        for folder in ("checkpoints", "best"):
            (workdir / folder).mkdir(exist_ok=True)
            after.pop(workdir / folder, None)
            before.pop(workdir / folder, None)
        assert after == before


def test_none_is_whole(stopped, capfd):
    harm(stopped / "checkpoints")
    harm(stopped / "best")
    refused(stopped, capfd)
    # Nor when all that are left were set aside, or nothing but the records is.
    for folder in ("checkpoints", "best"):
        for path in (stopped / folder).iterdir():
            path.rename(path.with_suffix(".damaged"))
    refused(stopped, capfd)
    for folder in ("checkpoints", "best"):
        shutil.rmtree(stopped / folder)
    refused(stopped, capfd)
    run(stopped, "--config.restart=True", "--config.train.epochs=1")


def test_one_that_was_killed_in_its_first_save_simply_starts(stopped, undisturbed, capfd):
    for folder in ("checkpoints", "best"):
        shutil.rmtree(stopped / folder)
        (stopped / folder / "4.unfinished.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:2]))
    run(stopped)
    assert "Continuing" not in capfd.readouterr().out
    assert json.loads((stopped / "result.json").read_text())["continued"] is False
    assert_same_run(stopped, undisturbed)


def test_one_that_was_killed_in_its_first_moments_simply_starts(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / ".shared-1").mkdir()
    for name in (".in-use", ".writable-1", ".config.json.1.tmp", ".data.json.1.tmp"):
        (workdir / name).touch()
    run(workdir)
    assert_same_run(workdir, undisturbed)
    assert not list(workdir.glob(".*"))


class Disk:
    """A disk of 16 MB, where a test may have one, that can be filled up."""

    def __init__(self, path, real, monkeypatch):
        self.path, self.real, self._patch = path, real, monkeypatch

    def fill(self, but_for=0):
        """Takes the room but for so many bytes, or makes every write of ours fail."""
        if self.real:
            with (self.path / "ballast").open("wb", buffering=0) as ballast:
                with contextlib.suppress(OSError):  # others may write meanwhile
                    while True:
                        ballast.write(bytes(1 << 12))
                ballast.truncate(max(ballast.tell() - but_for, 0))
            return

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def append(growing, piece):
            with writing(growing._path):
                full()

        self._patch.setattr(manifest, "write", full)
        self._patch.setattr(GrowingFile, "append", append)

    def make_room(self):
        if self.real:
            (self.path / "ballast").unlink()
        else:
            self._patch.undo()


@pytest.fixture
def disk(tmp_path, monkeypatch, capfd):
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    real = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    with capfd.disabled():
        print(f" [{'a real disk of 16 MB' if real else 'an injected error'}] ", end="")
    yield Disk(path, real, monkeypatch)
    gc.collect()  # what a failed save left half done complains now, not in another test
    if real:
        subprocess.run(["umount", str(path)], check=True)


# What TensorStore could not write it also tells a loop that Orbax has closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("left", [pytest.param(0, marks=pytest.mark.full), 40_000])
def test_the_disk_fills_up_in_a_save(left, disk, undisturbed, monkeypatch, capfd):
    """Where the folder cannot be made, and in the thread that writes the arrays."""
    workdir, saves, save = disk.path / "run", itertools.count(), Checkpoints.save

    def fill_and_save(*arguments, **options):
        if next(saves) == 3:
            disk.fill(but_for=left)
        save(*arguments, **options)

    monkeypatch.setattr(Checkpoints, "save", fill_and_save)
    run(workdir, status=2)
    *_, sentence = capfd.readouterr().err.splitlines()
    assert sentence.startswith(f"vgg_imagenet: a checkpoint could not be written to {workdir}/"), (
        sentence
    )
    assert "(No space left on device); the checkpoints before it are whole: mend" in sentence
    assert command.main([f"--workdir={workdir}"], Output()) == 0
    monkeypatch.undo()
    disk.make_room()
    capfd.readouterr()
    run(workdir)
    assert "Continuing from step" in capfd.readouterr().out
    assert_same_run(workdir, undisturbed)


def test_the_disk_fills_up_while_the_records_are_written(disk, undisturbed, monkeypatch, capfd):
    workdir, records = disk.path / "run", disk.path / "run" / "metrics.jsonl"
    shutil.copytree(undisturbed, workdir)
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "15")
    # Its last line ends with the last block of the disk that the file has.
    *lines, last = [
        line for line in records.read_bytes().splitlines() if json.loads(line)["step"] <= 12
    ]
    length = sum(len(line) + 1 for line in lines) + len(last) + 1
    block = os.statvfs(disk.path).f_bsize
    padding = b" " * (block - length % block)
    records.write_bytes(b"".join(line + b"\n" for line in (*lines, last + padding)))
    write = Records.metrics

    def fill_and_write(*arguments):
        disk.fill()
        monkeypatch.setattr(Records, "metrics", write)
        write(*arguments)

    monkeypatch.setattr(Records, "metrics", fill_and_write)
    run(workdir, status=2)
    *_, sentence = capfd.readouterr().err.splitlines()
    assert sentence.startswith(
        f"vgg_imagenet: {records} cannot be written (No space left on device)"
    )
    disk.make_room()
    run(workdir)
    records.write_bytes(records.read_bytes().replace(padding, b""))
    assert_same_run(workdir, undisturbed)


def read_only(path):
    """Makes a folder one that cannot be written, by a mount or else by its mode; how to undo it."""
    for options in (["--bind", str(path), str(path)], ["-o", "remount,ro,bind", str(path)]):
        if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
            path.chmod(0o555)
            return lambda: path.chmod(0o755)
    return lambda: subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_cannot_be_written(stopped, undisturbed, capfd):
    shutil.copytree(undisturbed, stopped.parent / "finished")
    before = contents(stopped.parent)
    undo = read_only(stopped.parent)
    try:
        for workdir in (stopped, stopped.parent / "new"):
            for more in ([], ["--config.restart=True"]):
                run(workdir, *more, status=2)
                (sentence,) = capfd.readouterr().err.splitlines()
                words = f"vgg_imagenet: the work directory {workdir} cannot be written ("
                assert sentence.startswith(words)
        run(stopped.parent / "finished")
        assert "This run is finished." in capfd.readouterr().out
        assert command.main([f"--workdir={stopped}"], Output()) == 0
        assert contents(stopped.parent) == before
    finally:
        undo()
    run(stopped)
    assert_same_run(stopped, undisturbed)


def test_a_clock_that_runs_backwards(undisturbed, tmp_path, monkeypatch):
    """By a minute at every look, and to the same second at every restart."""
    workdir, seconds = tmp_path / "run", itertools.count(1.8e9, -60)
    monkeypatch.setattr(time, "time", lambda: next(seconds))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(seconds)) * 10**9)
    monkeypatch.setattr(time, "strftime", lambda *_: "20261127-120000")
    run(workdir, "--config.train.epochs=1")
    run(workdir, "--config.train.epochs=1", "--config.restart=True")
    run(workdir, "--config.restart=True")
    assert {p.name for p in tmp_path.iterdir()} == {
        "run",
        "run.20261127-120000",
        "run.20261127-120000.2",
    }
    assert_same_run(workdir, undisturbed)
    (workdir / "result.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "15")
    (before,) = (workdir / "tensorboard").iterdir()
    run(workdir)
    assert_same_run(workdir, undisturbed)
    first, last = sorted((workdir / "tensorboard").iterdir())
    assert first == before
    assert last.stat().st_size
