"""A run's copy in a bucket: whenever a machine is lost, what is there can be gone on from."""

import dataclasses
import shutil
import sys
from pathlib import Path

import fsspec
import pytest
from test_checkpoint_damage import files_of, flip
from test_checkpoints import save

from experiments import checkpoints as command
from experiments import copies
from experiments.config import Experiment
from experiments.ownership import Ownership
from experiments.workdir import Workdir
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.training import bucket_copying, checkpoint_folder, manifest
from jaxcnn.training.activity import Timeline
from jaxcnn.training.bucket import Bucket, BucketError
from jaxcnn.training.bucket_checkpoints import copies_of
from jaxcnn.training.bucket_copying import Copying
from jaxcnn.training.checkpoint_folder import steps_in
from jaxcnn.training.checkpoint_reading import meta_of
from jaxcnn.training.manifest import damage

ADDRESS = "memory://store/run"


@pytest.fixture(autouse=True)
def store():
    """A store in memory, empty."""
    store = fsspec.filesystem("memory", use_listings_cache=False)
    store.store.clear()
    yield store
    store.store.clear()


def grow(workdir, number):
    """Makes a folder that of a run of which so much is done: a best one at every second step."""
    workdir.mkdir(exist_ok=True)
    (workdir / "config.json").write_text("{}")
    (workdir / "metrics.jsonl").write_text("1\n" * number)
    for folder in ("checkpoints", "best"):
        shutil.rmtree(workdir / folder, ignore_errors=True)
    save(workdir / "best", keep=1, steps=[number - number % 2]).close()
    save(workdir / "checkpoints", steps=[number - 1, number]).close()


def run_in(workdir, **changes):
    checkpoint = dataclasses.replace(Experiment().checkpoint, bucket=ADDRESS)
    config = dataclasses.replace(Experiment(), checkpoint=checkpoint, **changes)
    return Workdir(workdir, config, {}, Ownership())


def copy(workdir):
    Copying(workdir, Bucket(ADDRESS), pytest.fail).copy()


def there(folder, step):
    return [c for c in copies_of(Bucket(ADDRESS).objects()) if (c.folder, c.step) == (folder, step)]


def contents(workdir):
    return {
        str(p.relative_to(workdir)): p.read_bytes()
        for p in files_of(workdir)
        if p.name != ".in-use"
    }


@pytest.fixture
def workdir(tmp_path):
    """That of a run at step 4, which is copied."""
    grow(tmp_path / "run", 4)
    copy(tmp_path / "run")
    return tmp_path / "run"


def test_what_is_lost_comes_back_to_the_byte(workdir, tmp_path):
    before = contents(workdir)
    assert {"run.json", "checkpoints/4/manifest/manifest.json", "best/4/meta/metadata"} <= {*before}
    said = copies.bring_back(run_in(tmp_path / "other"))
    assert said == [f"Fetched the checkpoints up to step 4 from {ADDRESS}."]
    assert contents(tmp_path / "other") == before
    assert copies.bring_back(run_in(tmp_path / "other")) == []
    # One checkpoint alone, and nothing where the work directory is as far.
    shutil.rmtree(workdir / "checkpoints" / "4")
    assert copies.bring_back(run_in(workdir)) == said
    assert contents(workdir) == before
    flip(files_of(workdir / "checkpoints" / "4" / "state")[0], 0, 0)
    assert copies.bring_back(run_in(workdir)) == said
    assert steps_in(workdir / "checkpoints") == [3, 4]
    assert damage(workdir / "checkpoints" / "4") is None
    assert damage(workdir / "checkpoints" / "4.damaged") is not None


class Killed(BaseException):
    """The process is gone."""


def dying_after(patch, store, most):
    """Lets so many changes of the store happen; then the process is gone, in the midst of one."""
    done = []

    def dying(act):
        def acts_or_dies(*arguments, **options):
            if len(done) == most:
                raise Killed
            done.append(arguments)
            return act(*arguments, **options)

        return acts_or_dies

    for name in ("put_file", "pipe_file", "rm_file"):
        patch.setattr(store, name, dying(getattr(store, name)))
    # One after another, so that each number of changes is another state of the store.
    patch.setattr("jaxcnn.training.bucket._AT_ONCE", 1)
    return done


def test_at_every_moment_there_is_something_whole_to_go_on_from(
    workdir, tmp_path, store, monkeypatch
):
    """It is the checkpoint before or the one that is copied, and the best one that it speaks of."""
    monkeypatch.setattr(manifest, "flush", lambda path: None)  # which is what takes the time here
    before = dict(store.store)
    grow(workdir, 6)
    found, most = [], 0
    while True:
        store.store.clear()
        store.store.update(before)
        with pytest.MonkeyPatch.context() as patch:
            dying_after(patch, store, most)
            try:
                copy(workdir)
            except Killed:
                pass
            else:
                break
        other = tmp_path / f"other{most}"
        # What is half copied or half deleted is not there, rather than damaged.
        (told,) = copies.bring_back(run_in(other))
        assert told.startswith("Fetched")
        newest, best = (steps_in(other / folder)[-1] for folder in ("checkpoints", "best"))
        assert best >= newest - newest % 2
        assert not damage(other / "checkpoints" / str(newest))
        assert (other / "metrics.jsonl").read_text().count("\n") >= newest
        found.append(newest)
        shutil.rmtree(other)
        most += 2
    assert found == sorted(found)
    assert {4, 6} <= {*found} <= {4, 5, 6}
    assert most > 60
    assert not (workdir / ".bucket").exists()
    copies.bring_back(run_in(tmp_path / "last"))
    assert contents(tmp_path / "last") == contents(workdir)


def test_one_that_takes_the_place_of_another_lies_beside_it_first(workdir, store):
    (first,) = there("checkpoints", 4)
    grow(workdir, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket_copying, "delete", lambda *_: None)
        copy(workdir)
    assert [c.whole for c in there("checkpoints", 4)] == [True, True]
    copy(workdir)
    (second,) = there("checkpoints", 4)
    assert first.mark != second.mark


def harm(store, start):
    """Flips a bit in an object of each checkpoint whose name starts so."""
    names = [n for n in store.find("/store/run") if n.startswith(f"/store/run/{start}")]
    for name in names:
        if name.endswith("meta/metadata"):
            data = bytearray(store.cat_file(name))
            data[9] ^= 1
            store.pipe_file(name, bytes(data))
    return names


def test_a_damaged_one_is_noticed_and_stays(workdir, tmp_path, store, capsys):
    names = harm(store, "checkpoints/4")
    other = run_in(tmp_path / "other")
    complaint, fetched = copies.bring_back(other)
    assert "/checkpoints/4." in complaint
    assert complaint.endswith(": its file meta/metadata has changed since it was written.")
    assert fetched.startswith("Fetched the checkpoints up to step 4")  # the best one
    assert steps_in(other.path / "checkpoints") == [3]
    assert steps_in(other.path / "best") == [4]
    grow(other.path, 4)
    copy(other.path)
    assert {*names} < {*store.find("/store/run")}
    assert command.main([f"--workdir={ADDRESS}"], Output()) == command.DAMAGED
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(rows[1:]) == ["best/4", "checkpoints/3", "checkpoints/4", "checkpoints/4.damaged"]


def test_none_is_left(workdir, tmp_path, store):
    harm(store, "")
    for _ in range(2):
        with pytest.raises(UserError, match=r"had checkpoints and no whole one is left"):
            copies.bring_back(run_in(tmp_path / "other"))


def test_another_runs_bucket_is_refused(workdir, tmp_path):
    grow(tmp_path / "another", 4)
    with pytest.raises(UserError, match=r"memory://store/run holds another run than .*another"):
        copies.bring_back(run_in(tmp_path / "another"))
    with pytest.raises(UserError, match="holds an earlier run, which is not renamed there"):
        copies.bring_back(run_in(workdir, restart=True))


def test_a_live_runs_folder_is_left_alone(workdir):
    shutil.rmtree(workdir / "checkpoints" / "4")
    with Ownership() as owner:
        owner.take(workdir)
        with pytest.raises(UserError, match="is in use by another run"):
            copies.bring_back(run_in(workdir))
    assert steps_in(workdir / "checkpoints") == [3]


def test_records_alone_are_nothing_to_go_on_from(tmp_path, store):
    grow(tmp_path / "run", 4)
    with pytest.MonkeyPatch.context() as patch:
        dying_after(patch, store, 8)
        with pytest.raises(Killed):
            copy(tmp_path / "run")
    assert Bucket(ADDRESS).read("metrics.jsonl") is not None
    assert copies.bring_back(run_in(tmp_path / "other")) == []
    assert not (tmp_path / "other").exists()
    # The next one is killed, too, before it has copied anything; what it made is its own.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    assert copies.bring_back(run_in(tmp_path / "other")) == []


def test_a_folder_of_something_else_is_left_as_it_is(workdir, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "metrics.jsonl").write_text("mine")
    before = contents(tmp_path / "home")
    with pytest.raises(UserError, match="holds files but no run of ours"):
        copies.bring_back(run_in(tmp_path / "home"))
    assert contents(tmp_path / "home") == before


def test_a_fetch_that_is_killed_at_any_moment_is_made_good(workdir, tmp_path, store, monkeypatch):
    monkeypatch.setattr(manifest, "flush", lambda path: None)
    monkeypatch.setattr("jaxcnn.training.bucket._AT_ONCE", 1)
    before, most = contents(workdir), 0
    while True:
        done = []

        def dying(act, done=done, most=most):
            def acts_or_dies(*arguments):
                if len(done) == most:
                    raise Killed
                done.append(arguments)
                return act(*arguments)

            return acts_or_dies

        other = tmp_path / f"other{most}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "get_file", dying(store.get_file))
            patch.setattr(Path, "replace", dying(Path.replace))
            try:
                copies.bring_back(run_in(other))
            except Killed:
                pass
            else:
                break
        copies.bring_back(run_in(other))
        for folder in ("checkpoints", "best"):  # as the run does that goes on
            checkpoint_folder.tidy(other / folder)
        assert {n: b for n, b in contents(other).items() if n[0] != "."} == before
        shutil.rmtree(other)
        most += 1
    assert most > 30


def test_an_outage_is_told_and_made_good(workdir, store, monkeypatch, capsys):
    monkeypatch.setattr(bucket_copying, "_LOOK", 0.01)
    monkeypatch.setattr(bucket_copying, "_PATIENCE", 0.02)
    run = run_in(workdir)
    put_file, told = store.put_file, []

    def refuse(*_, **__):
        raise ConnectionError("the line is cut")

    monkeypatch.setattr(store, "put_file", refuse)
    copying = Copying(workdir, Bucket(ADDRESS), told.append)
    copying.start()
    grow(workdir, 6)
    while len(told) < 2:
        pass
    assert "tried again: memory://store/run cannot be used (the line is cut); check" in told[0]
    with pytest.raises(BucketError):
        copying.finish()
    with (
        pytest.raises(UserError, match=r"the run in .*run is finished and its copy is not"),
        copies.copied(run, Timeline()),
    ):
        pass
    # What ended the run is said by its own words.
    with pytest.raises(ZeroDivisionError), copies.copied(run, Timeline()):
        raise ZeroDivisionError
    assert "Warning: not all is copied to the bucket" in capsys.readouterr().err
    monkeypatch.setattr(store, "put_file", put_file)
    with copies.copied(run, Timeline()):
        (workdir / "result.json").write_text("{}")
    assert Bucket(ADDRESS).read("result.json") == b"{}"
    assert {c.step for c in copies_of(Bucket(ADDRESS).objects())} == {5, 6}
    (workdir / "result.json").unlink()  # a forced run goes on
    copy(workdir)
    assert Bucket(ADDRESS).read("result.json") is None


def test_what_a_run_deletes_while_it_is_copied_is_whole_there(workdir, store, monkeypatch):
    grow(workdir, 6)
    put_file = store.put_file

    def put(path, *arguments, **options):
        shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
        return put_file(path, *arguments, **options)

    monkeypatch.setattr(store, "put_file", put)
    copy(workdir)
    assert {c.step for c in copies_of(Bucket(ADDRESS).objects()) if c.whole} == {5, 6}


def test_a_run_is_read_from_there(workdir, store):
    with copies.at_hand(ADDRESS) as folder:
        assert [steps_in(folder / name) for name in ("best", "checkpoints")] == [[4], []]
        assert meta_of(folder / "best" / "4") == meta_of(workdir / "best" / "4")
    assert not folder.exists()
    harm(store, "best")
    with copies.at_hand(ADDRESS) as folder:
        assert steps_in(folder / "checkpoints") == [3, 4]
    with pytest.raises(UserError, match="holds no run"), copies.at_hand("memory://store/none"):
        pass


def test_no_object_is_written_outside(workdir, tmp_path):
    bucket = Bucket(ADDRESS)
    mark = next(c.mark for c in copies_of(bucket.objects()) if c.folder == "checkpoints")
    objects = bucket.objects() | {
        f"checkpoints/9.{mark}/{name}": dataclasses.replace(next(iter(bucket.objects().values())))
        for name in ("../../../escaped", "a//b", "./c", "/etc/x")
    }
    (evil,) = (c for c in copies_of(objects) if c.step == 9)
    asked = []

    class Spy:
        def download(self, files):
            asked.extend(files)

    copies.download(Spy(), evil, tmp_path / "evil")
    assert asked == []


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(BucketError, match=r"s3://a/b needs the package s3fs .*pip install s3fs"):
        Bucket("s3://a/b")


@pytest.mark.parametrize(
    "address", ["gs://bucket", "runs/a", "https://a/b", "gs:///a", "s3://a//b"]
)
def test_what_is_no_folder_in_a_bucket_is_refused(address):
    with pytest.raises(UserError, match=r"checkpoint\.bucket=.* is no folder in a bucket"):
        dataclasses.replace(Experiment().checkpoint, bucket=address).check()
