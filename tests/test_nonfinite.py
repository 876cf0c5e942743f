"""A run with updates that are not finite: what it says, writes down and keeps, and when it ends."""

import io

import chex
import jax
import numpy as np
import pytest
from command_run import finish
from test_loop import (
    BATCH,
    CONSTANT,
    STEPS_PER_EPOCH,
    assert_same,
    examples,
    kept,
    records,
    run,
)

from experiments.faults.small_run import start, start_several
from jaxcnn.errors import UserError
from jaxcnn.progress import Progress
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.interruption import Interrupted
from jaxcnn.training.left_out import LeftOut
from jaxcnn.training.nonfinite import NonFiniteUpdates
from jaxcnn.training.records import Records, read_metrics

# The first step, one before and one of a checkpoint, two in a row over an epoch's end, the last.
WRONG = (0, 4, 5, 7, 8, 11)
WHOLE = {"epochs": 3, "schedule": CONSTANT, "wrong": WRONG, "every": 3}


class Killed(BaseException):
    """Of which nothing in the loop knows."""


def dying(count):
    """Makes a training step during whose so-manieth call the process is gone."""

    def around(train_step):
        left = count

        def step(state, batch):
            nonlocal left
            left -= 1
            if not left:
                raise Killed
            return train_step(state, batch)

        return step

    return around


def overflowing(part, at):
    """Makes a training step after which, once it has made step ``at``, the state is infinite."""

    def around(train_step):
        def step(state, batch):
            spoil = int(state.step) == at - 1
            state, metrics = train_step(state, batch)
            if spoil:
                value = getattr(state, part)
                leaves, structure = jax.tree.flatten(value)
                leaves[-1] = leaves[-1] * np.float32(np.inf)
                state = state.replace(**{part: jax.tree.unflatten(structure, leaves)})
            return state, metrics

        return step

    return around


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir, notes = tmp_path_factory.mktemp("undisturbed"), io.StringIO()
    state, _ = run(workdir, **WHOLE, notes=notes)
    return workdir, state, notes.getvalue()


def test_each_is_told_and_written_down_with_its_examples(undisturbed):
    workdir, state, notes = undisturbed
    lines = records(workdir, "nonfinite")
    assert [line["step"] for line in lines] == [step + 1 for step in WRONG]
    assert [line["left_out"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["in_a_row"] for line in lines] == [1, 1, 2, 1, 2, 1]
    assert [line["examples"] for line in lines] == [list(examples(step)) for step in WRONG]
    assert all(np.isnan(line["loss"]) for line in lines)
    assert lines[1]["epoch"] == 5 / STEPS_PER_EPOCH
    told = [line for line in notes.splitlines() if line.startswith("step ")]
    assert told[1] == (
        "step 5: the loss is nan; this update is left out (2 so far); examples "
        "64, 65, 66, 67, 68, 69, 70, 71 and 8 more"
    )
    assert len(told) == len(WRONG)
    # They are missed by no metric, and are no images that could not be read.
    assert "could not be read" not in notes
    for kind in ("epoch", "eval"):
        assert np.all(np.isfinite([line["loss"] for line in records(workdir, kind)]))
    of_none = [line["step"] for line in records(workdir, "train") if np.isnan(line["loss"])]
    assert of_none == [6, 9]  # the records in whose window no update was made
    assert (int(state.left_out.updates), int(state.left_out.in_a_row)) == (6, 1)
    assert int(state.epoch.count) == (STEPS_PER_EPOCH - 2) * BATCH
    # A line stands before those of later steps, and before what is said of its own.
    order = [line["step"] for line in read_metrics(workdir / "metrics.jsonl")]
    assert order == sorted(order)
    at_last = [line["kind"] for line in read_metrics(workdir / "metrics.jsonl")][-4:]
    assert at_last == ["nonfinite", "train", "epoch", "eval"]


@pytest.mark.parametrize("count", range(1, 13))
def test_killed_in_any_step_it_goes_on_as_if_it_had_not_been(count, undisturbed, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, **WHOLE, around=dying(count))
    run(tmp_path, **WHOLE)
    assert_same(tmp_path, undisturbed[0])


@pytest.mark.parametrize("stop_at", [1, 2, 6, 8, 11, 14])
def test_stopped_and_continued_it_is_the_same(stop_at, undisturbed, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, **WHOLE, stop_at=stop_at)
    run(tmp_path, **WHOLE)
    assert_same(tmp_path, undisturbed[0])


def test_a_run_of_nothing_else_ends_with_one_sentence(tmp_path):
    endless = {"epochs": 9, "schedule": CONSTANT, "wrong": range(6, 99), "max_nonfinite": 5}
    with pytest.raises(Interrupted):  # the row goes on over a stop
        run(tmp_path, **endless, stop_at=15)
    before = len(records(tmp_path, "nonfinite"))
    assert 0 < before < 5
    notes = io.StringIO()
    with pytest.raises(UserError, match=r"at step 11 .* 5 updates in a row") as error:
        run(tmp_path, **endless, notes=notes)
    for word in ("learning_rate than 0.1,", "model.initialization", "dtype", "every checkpoint"):
        assert word in str(error.value)
    assert "step 11: norms of the parameters: bn/bias " in notes.getvalue()
    assert [line["in_a_row"] for line in records(tmp_path, "nonfinite")] == [1, 2, 3, 4, 5]
    state = kept(tmp_path, "checkpoints")
    assert 8 <= int(state.step) < 11
    chex.assert_tree_all_finite((state.params, state.opt_state, state.batch_stats))
    # It may go on with more patience.
    endless |= {"max_nonfinite": 7}
    with pytest.raises(UserError, match=r"at step 13 .* 7 updates in a row"):
        run(tmp_path, **endless)


@pytest.mark.parametrize("part", ["params", "opt_state", "batch_stats", "ema"])
@pytest.mark.parametrize("at", [6, 8])
def test_a_state_that_is_not_finite_is_not_saved(part, at, tmp_path):
    """Within an epoch and at its end; the checkpoints before it stay."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    some = {"schedule": CONSTANT, "every": 1}
    run(good, **some, steps=at - 1)
    with pytest.raises(UserError, match=rf"after step {at} .* nothing is saved"):
        run(bad, **some, epochs=3, around=overflowing(part, at))
    newest = Checkpoints(bad / "checkpoints", keep=3)
    assert newest.steps() == [at - 3, at - 2, at - 1]
    newest.close()
    state = kept(bad, "checkpoints")
    chex.assert_trees_all_equal(state.params, kept(good, "checkpoints").params)
    chex.assert_tree_all_finite((state.params, state.opt_state, state.batch_stats, state.ema))


@pytest.mark.full
def test_two_processes_leave_out_the_same_and_end_together(tmp_path):
    """Under a rate at which everything overflows, as one process of two devices does."""
    arguments = (
        "--config.model.name=vgg11",
        "--config.optimizer.name=momentum",
        "--config.optimizer.learning_rate=1e20",
        "--config.train.max_nonfinite=3",
    )
    one = [start(tmp_path / "one", *arguments, devices=2)]
    for process in [*one, *start_several(tmp_path / "two", *arguments)]:
        finish(process, status=2)
    of_one, of_two = (records(tmp_path / name, "nonfinite") for name in ("one", "two"))
    assert [line["in_a_row"] for line in of_one] == [1, 2, 3]
    for ours, expected in zip(of_two, of_one, strict=True):
        np.testing.assert_equal(ours, expected)


class Watched:
    """A layout that remembers what was fetched."""

    def __init__(self):
        self.fetched = []

    def compile(self, step):
        return step

    def fetch(self, flag):
        self.fetched.append(flag)
        return True


def test_the_host_looks_two_steps_behind(tmp_path):
    layout = Watched()
    with Records(tmp_path, step=0) as lines:
        nonfinite = NonFiniteUpdates(
            layout=layout,
            is_finite=None,
            examples=examples,
            limit=1,
            steps_per_epoch=4,
            before=LeftOut.none(),
            records=lines,
            progress=Progress(total=0, description="", enabled=False),
        )
        for step in range(1, 6):
            nonfinite.after(step, None, {"finite": step})
            assert layout.fetched == list(range(1, step - 1))
        nonfinite.drain(None)
        assert layout.fetched == [1, 2, 3, 4, 5]
