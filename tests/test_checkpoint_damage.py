"""Damage after a save: whatever becomes of whichever file is noticed, and nothing is deleted."""

import json
import shutil

import numpy as np
import pytest
from test_checkpoints import save

from experiments import checkpoints as command
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.training import checkpoints
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.manifest import damage

MANIFEST = "manifest/manifest.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of two checkpoints as they were written; nobody changes it."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    save(folder).close()
    return folder


@pytest.fixture
def store(written, tmp_path):
    """A copy of it, open."""
    shutil.copytree(written, tmp_path / "checkpoints")
    store = Checkpoints(tmp_path / "checkpoints", keep=2)
    yield store
    store.close()


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def flip(path, position, bit):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(bytes(data))


def assert_noticed(store, path):
    """The damaged one is named, the one before is used, and nothing is gone."""
    before = files_of(store.folder)
    step, complaints = store.newest_sound()
    assert step == 1, path
    assert len(complaints) == 1
    assert str(store.folder / "2") in complaints[0]
    assert files_of(store.folder) == before


def test_a_byte_flipped_at_200_places(store):
    random = np.random.default_rng(0)
    files = files_of(store.folder / "2")
    assert {"_CHECKPOINT_METADATA", "commit_success.txt", "manifest.json"} <= {
        p.name for p in files
    }
    places = [files[number % len(files)] for number in range(200)]
    for path in places:
        whole = path.read_bytes()
        flip(path, random.integers(len(whole)), random.integers(8))
        assert_noticed(store, path)
        path.write_bytes(whole)
    assert store.newest_sound() == (2, [])


def test_each_file_truncated_emptied_deleted_or_longer(store):
    for path in files_of(store.folder / "2"):
        whole = path.read_bytes()
        for left in (whole[:-1], whole[: len(whole) // 2], b"", None, whole + b"\n"):
            path.unlink() if left is None else path.write_bytes(left)
            assert_noticed(store, path)
            path.write_bytes(whole)
    assert store.newest_sound() == (2, [])


def test_a_manifest_that_became_something_else_is_no_crash(store):
    manifest = store.folder / "2" / MANIFEST
    whole = json.loads(manifest.read_text())
    others = [
        b"[]",
        b"{}",
        b"null",
        b'"x"',
        b"1e999",
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps(whole).encode(),  # the same, differently spaced
        json.dumps({name: [value] for name, value in whole.items()}, indent=1).encode(),
        json.dumps({n: v for n, v in whole.items() if "state" not in n}, indent=1).encode(),
        json.dumps(whole | {"../../../etc/passwd": "0" * 64}, indent=1, sort_keys=True).encode(),
    ]
    for other in others:
        manifest.write_bytes(other)
        assert_noticed(store, other)
    with manifest.open("wb") as file:
        file.truncate(1 << 40)  # of zeros, and not read into memory
    assert_noticed(store, manifest)
    manifest.unlink()
    manifest.mkdir()
    assert_noticed(store, manifest)


def test_without_a_manifest_it_was_never_finished(store):
    (store.folder / "2" / MANIFEST).unlink()
    assert "never finished" in damage(store.folder / "2")


def test_what_is_damaged_twice_is_set_aside_twice(store):
    for expected in (["2.damaged"], ["2.damaged", "2.damaged.2"]):
        flip(store.folder / "2" / "state" / "_METADATA", 5, 0)
        assert store.newest_sound()[0] == 1
        store.set_aside_after(1)
        assert store.steps() == [1]
        assert sorted(p.name for p in store.folder.glob("2*")) == expected
        again = save(store.folder, steps=(2,))
        assert again.newest_sound() == (2, [])
        again.close()
        store = Checkpoints(store.folder, keep=2)
    for path in store.folder.glob("2.*"):
        assert "has changed" in damage(path)
    store.close()


def test_another_versions_format_is_one_sentence(store, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", checkpoints.FORMAT_VERSION + 1)
    with pytest.raises(UserError, match=rf"{store.folder}/2 is of format \d+, .* version's is \d+"):
        store.restore(2, {})


# The command.


def listed(workdir, capsys, status):
    """What the command prints, a line to a checkpoint."""
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    assert command.main([f"--workdir={workdir}"], Output()) == status
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "checkpoint",
        "step",
        "epoch",
        "MB",
        "written",
        "loss",
        "top-1",
        "state",
    ]
    return lines


def test_the_command_lists_and_verifies(written, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    best = Checkpoints(tmp_path / "best", keep=1)
    meta = {"evaluation": {"loss": 0.25, "accuracy": 0.5}}
    best.save(2, {"step": np.zeros(3)}, meta)
    best.close()
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "epoch": 0.5}\n')
    lines = listed(tmp_path, capsys, 0)
    assert [line.split()[0] for line in lines] == ["checkpoints/1", "checkpoints/2", "best/2"]
    assert all(line.endswith("  whole") for line in lines)
    assert lines[2].split()[1:3] == ["2", "1"]  # the step and the epoch
    assert lines[2].split()[-3:] == ["0.2500", "50.00%", "whole"]

    flip(folder / "1" / "_CHECKPOINT_METADATA", 3, 1)
    (folder / "2").rename(folder / "2.damaged")
    (folder / "3.unfinished.orbax-checkpoint-tmp").mkdir()
    lines = listed(tmp_path, capsys, command.DAMAGED)
    assert lines[0].endswith(
        "damaged: its file _CHECKPOINT_METADATA has changed since it was written"
    )
    assert lines[1].startswith("checkpoints/2.damaged ")
    assert lines[2].endswith("  unfinished")

    shutil.rmtree(folder / "1")
    assert len(listed(tmp_path, capsys, 0)) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--workdir={}/nowhere"], "nowhere is no work directory"), ([], "--workdir")],
)
def test_a_misspelt_folder_is_one_sentence(arguments, words, tmp_path):
    with pytest.raises(UserError, match=words):
        command.main([word.format(tmp_path) for word in arguments], Output())


def test_a_run_without_a_checkpoint(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert command.main([f"--workdir={tmp_path}"], Output()) == 0
    assert "has no checkpoint yet" in capsys.readouterr().out


def test_what_the_run_deletes_or_replaces_meanwhile_is_no_damage(written, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    verify = command.damage

    def while_the_run_goes_on(path):
        monkeypatch.setattr(command, "damage", verify)
        shutil.rmtree(folder / "1")
        (folder / "2").rename(folder / "2.replaced")
        shutil.copytree(written / "2", folder / "2")
        return verify(path)

    monkeypatch.setattr(command, "damage", while_the_run_goes_on)
    (found,) = command.checkpoints_of(tmp_path)
    assert (found.name, found.state) == ("checkpoints/2", "whole")
