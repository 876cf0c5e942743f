"""A run whose checkpoints are damaged or gone: it goes on exactly from what is left, or says so."""

import shutil

import pytest
from command_run import assert_same_run, steps
from test_ownership import contents

from experiments.run import main
from experiments.vgg_imagenet import RECIPE

ARGUMENTS = (
    "--config=digits",
    "--config.model.width=4",
    "--config.model.hidden=8",
    "--config.train.epochs=3",
    "--config.train.batch_size=256",  # 5 steps an epoch
    "--config.schedule.warmup_epochs=0",
    "--config.data.threads=1",
    "--config.checkpoint.every_steps=4",
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
    assert steps(tmp_path / "run") == [12, 15]
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
    (best,) = (stopped / "best").iterdir()
    harm(stopped / "checkpoints")
    run(stopped)
    assert f"Continuing from step {best.name}." in capfd.readouterr().out
    assert {"12.damaged", "15.damaged"} <= {p.name for p in (stopped / "checkpoints").iterdir()}
    assert_same_run(stopped, undisturbed)
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints")
    run(stopped)
    assert f"Continuing from step {best.name}." in capfd.readouterr().out


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
    """Also from a file of weights, which it reads again; it has none here."""
    for folder in ("checkpoints", "best"):
        shutil.rmtree(stopped / folder)
        (stopped / folder / "4.unfinished.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:2]))
    run(stopped)
    assert "Continuing" not in capfd.readouterr().out
    assert_same_run(stopped, undisturbed)


@pytest.mark.parametrize("left", [(), ("config.json",), ("config.json", "data.json")])
def test_one_that_was_killed_in_its_first_moments_simply_starts(left, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / ".shared-1").mkdir()
    for name in (".in-use", ".writable-1", ".config.json.1.tmp", ".data.json.1.tmp"):
        (workdir / name).touch()
    for name in left:
        shutil.copy(undisturbed / name, workdir)
    run(workdir)
    assert_same_run(workdir, undisturbed)
    assert not list(workdir.glob(".*"))
