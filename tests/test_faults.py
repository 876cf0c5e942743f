"""The faults that a run must survive: made on real runs, and looked for by pieces that see them."""

import dataclasses
import json
import re
import shutil
import signal

import numpy as np
import pytest

from experiments.faults import command
from experiments.faults import series as series_of_faults
from experiments.faults.bench import Bench
from experiments.faults.damage import delete, flip, truncate
from experiments.faults.kills import at_random
from experiments.faults.same_run import FinishedRun, Saved, differences
from experiments.faults.series import Fault, Series
from experiments.faults.watching import Watch
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError

NONE = [
    f"--{field.name}={'False' if field.type is bool else 0}"
    for field in dataclasses.fields(command.FaultsConfig)
    if field.name not in ("seed", "limit", "workdir", "output")
]


def only(**counts):
    """The command line that asks for these faults and no others."""
    left_out = [word for word in NONE if word[2:].partition("=")[0] not in counts]
    return [*left_out, *(f"--{name}={count}" for name, count in counts.items())]


def made(tmp_path, **counts):
    """What the command wrote of faults that a run survived."""
    output = tmp_path / "faults.json"
    arguments = [*only(**counts), f"--workdir={tmp_path / 'runs'}", f"--output={output}"]
    assert command.main(arguments, Output()) == 0
    result = json.loads(output.read_text())
    assert not result["interrupted"]
    return result["faults"]


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    found = made(tmp_path, kills=1)
    assert found["kills"]["made"] == 1
    assert found["kills"]["runs_the_same"] == 1


@pytest.mark.full
def test_a_run_survives_kills_at_records_and_restarts_on_damage(tmp_path, capsys):
    found = made(tmp_path, kills=1, record_kills=3, flips=30, damaged_restarts=1)
    for name, count in {"kills": 1, "record_kills": 3}.items():
        assert found[name]["made"] == count
        assert found[name]["runs_the_same"] >= 1
    assert found["damage"]["noticed"] == found["damage"]["made"]
    assert found["damage"]["noticed"]["flip"] == 30
    assert found["damage"]["runs_the_same"] == 1
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(found)


@pytest.mark.full
def test_a_run_survives_all_kinds_of_faults(tmp_path):
    found = made(
        tmp_path,
        file_kills=3,
        manifest_kills=3,
        sigterms=5,
        process_sigterms=5,
        process_kills=2,
        process_stops=1,
        moves=True,
    )
    for name in ("sigterms", "process_sigterms"):
        assert found[name]["made"] == 5
        assert found[name]["steps_made_again"]["total"] == 0
        assert found[name]["longest_end_seconds"] < 30
    assert found["moves"]["made"] == 6
    assert max(found["moves"]["largest_loss_difference"].values()) <= 1e-5
    assert found["moves"]["examples_compared"] >= 3 * 20 * 128


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--kills=-1"], "--kills=-1 must be 0 or more"), (["--workdir={}"], "is not empty")],
)
def test_a_mistake_is_one_sentence(arguments, words, tmp_path):
    (tmp_path / "something").touch()
    with pytest.raises(UserError, match=words):
        command.main([argument.format(tmp_path) for argument in arguments], Output())


# The pieces.


def test_every_file_that_is_made_is_seen(tmp_path):
    """In folders that were made just before, and under the names that they were given since."""
    with Watch(tmp_path) as watch:

        def seen():
            return [(e.kind, str(e.path), e.is_folder) for e in watch.events(0.05)]

        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "1").write_text("before anybody could watch its folder")
        assert seen() == [
            ("created", "a", True),
            ("created", "a/b", True),
            ("created", "a/b/1", False),
        ]
        (tmp_path / "a").rename(tmp_path / "z")
        assert seen() == [("moved", "z", True)]
        (tmp_path / "z" / "b" / "2").write_text("")
        assert seen() == [("created", "z/b/2", False), ("closed", "z/b/2", False)]
        with (tmp_path / "z" / "b" / "1").open("a") as file:
            file.write("more")
        assert seen() == [("written", "z/b/1", False), ("closed", "z/b/1", False)]
        shutil.rmtree(tmp_path / "z")
        assert seen() == []
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1").mkdir()
        assert seen() == [("created", "a", True), ("created", "a/1", True)]


def run_of(**changes):
    saved = Saved(4, {"step": np.int32(4), "params": np.float32([0, 1, np.nan])}, {"loss": 1.0})
    given = {"newest": saved, "best": saved, "metrics": b"1\n2\n", "result": {"loss": 1.0}}
    return FinishedRun(**given | changes)


def saved(**changes):
    return dataclasses.replace(run_of().newest, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"newest": saved(step=5)}, "the last checkpoint is of step 5 and should be of 4"),
        ({"best": saved(evaluation=None)}, "the best checkpoint was saved with another evaluation"),
        ({"best": saved(arrays={"step": np.int32(4)})}, "only one of the two has params"),
        (
            {
                "newest": saved(
                    arrays={"step": np.int32(4), "params": np.float32([-0.0, 1, np.nan])}
                )
            },
            "the last checkpoint: params differs",
        ),
        (
            {"newest": saved(arrays={**saved().arrays, "step": np.int64(4)})},
            "the last checkpoint: step differs",
        ),
        ({"metrics": b"1\n2\n2\n"}, "has 3 lines and should have 2; .* line 3"),
        ({"metrics": b"1\n3\n"}, "the first that differs is line 2"),
        ({"metrics": b"1\n2"}, "the first that differs"),
        ({"result": {"loss": 1.5}}, "result.json: loss is 1.5 and should be 1.0"),
        ({"rubbish": ["best/.tmp"]}, "best/.tmp should not be there"),
    ],
)
def test_every_difference_is_told(changes, words):
    assert differences(run_of(), run_of()) == []
    (found,) = differences(run_of(**changes), run_of())
    assert re.search(words, found)


@pytest.mark.parametrize("harm", [flip, truncate, delete])
def test_damage_is_damage(harm, tmp_path):
    random = np.random.default_rng(0)
    for length in (1, 2, 100):
        path = tmp_path / "file"
        path.write_bytes(bytes(length))
        harm(path, random)
        left = path.read_bytes() if path.exists() else None
        assert left != bytes(length)
        assert harm is not flip or len(left) == length


class Script:
    """Starts of a run that are played: each is the status at its end and what it printed."""

    def __init__(self, workdir, logs, *, processes, cache):
        del logs, cache
        self.workdir, self.processes, self.seconds = workdir, [None] * processes, 1.0
        self.status, self.text = self.starts.pop(0)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def send(self, number, processes=None):
        del number, processes

    def wait(self, seconds):
        del seconds
        return [self.status]

    def printed(self, process=0):
        del process
        return f"work directory\n{self.text}"


def play(starts, finished, monkeypatch):
    """Lets a series make these starts, whose run ends as given, until a failure."""
    played = type("Played", (Script,), {"starts": [*starts]})
    monkeypatch.setattr(series_of_faults, "SmallRun", played)
    monkeypatch.setattr(series_of_faults, "read_run", lambda workdir: finished)
    monkeypatch.setattr(series_of_faults, "_ENOUGH", 1)


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        ([(-9, ""), (0, "")], None),
        ([(0, ""), (-9, ""), (0, "")], None),  # the first ended before it was struck
        ([(1, "ZeroDivisionError"), (0, "")], r"ended with \[1\], not .*ZeroDivisionError"),
        ([(None, ""), (0, "")], "had not ended 30 s later"),
        ([(-9, ""), (1, "some error")], r"ended with \[1\]: some error"),
        ([(-9, ""), (0, "Continuing from step 8.")], "went on from step 8; .* was 0"),
    ],
)
def test_a_series_sees_what_goes_wrong(starts, words, tmp_path, monkeypatch):
    play(starts, run_of(), monkeypatch)
    bench = Bench(tmp_path, 0, lambda line: None, whole=2, begin=1, _references={1: run_of()})

    def strike(run, random, number):
        del random, number
        return None if run.status == 0 else Fault("a kill", 0.5, [{-signal.SIGKILL}])

    series = Series(bench, "kills", 1, strike)
    series.make()
    assert len(series.faults) == 1
    if words is None:
        assert series.failures == []
        assert series.runs == starts.count((0, ""))
    else:
        (failure,) = series.failures
        assert re.search(words, failure)
        assert "seed 0" in failure
        assert str(tmp_path) in failure


def test_another_result_is_a_failure(tmp_path, monkeypatch):
    starts = [(-9, ""), (0, "")]
    play(starts, run_of(metrics=b"1\n"), monkeypatch)
    bench = Bench(tmp_path, 0, lambda line: None, whole=2, begin=1, _references={1: run_of()})
    series = Series(bench, "kills", 1, at_random(bench))
    monkeypatch.setattr("experiments.faults.moments.after", lambda run, seconds: run.status != 0)
    series.make()
    assert len(series.faults) == 1
    assert "metrics.jsonl has 1 lines and should have 2" in series.failures[0]
