"""The loop with a network of one layer: where a run ends, stops, goes on, and what it then has."""

import contextlib
import functools
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from networks import QUICKLY

from jaxcnn.losses import cross_entropy
from jaxcnn.models.layers import BatchNorm
from jaxcnn.progress import Progress
from jaxcnn.training.activity import Timeline
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.evaluation import evaluate
from jaxcnn.training.exact_statistics import make_statistics_step, with_exact_statistics
from jaxcnn.training.goodput import EarlierStarts
from jaxcnn.training.interruption import Interrupted
from jaxcnn.training.layouts import JitLayout
from jaxcnn.training.loop import Trainer
from jaxcnn.training.nonfinite import NonFiniteUpdates, state_is_finite
from jaxcnn.training.optimizers import OptimizerConfig, averaging, l2_penalty, make_optimizer
from jaxcnn.training.records import Records, read_metrics, read_timings
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.steps import create_state, make_eval_step, make_train_step
from jaxcnn.training.train_config import TrainConfig

STEPS_PER_EPOCH, BATCH = 4, 16
OPTIMIZER = OptimizerConfig(learning_rate=0.1, weight_decay=1e-2, polyak=3)
PLATEAU = ScheduleConfig(
    kind="plateau", factor=0.5, patience=1, monitor="objective", early_stopping=4
)


class OneLayer(nn.Module):
    num_classes: int = 3
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(8, name="fc")(images.reshape(images.shape[0], -1))
        x = nn.relu(BatchNorm(name="bn", use_running_average=not train)(x))
        return nn.Dense(self.num_classes, name="logits")(x)


def batch(number):
    """Noise with labels of noise: what is learnt of it helps no evaluation for long."""
    random = np.random.default_rng(number)
    return {
        "image": random.integers(0, 256, (BATCH, 4, 4, 1), dtype=np.uint8),
        "label": random.integers(0, 3, BATCH).astype(np.int32),
        "index": np.arange(BATCH, dtype=np.int32),
        "weight": np.ones(BATCH, np.float32),
    }


def normalise(images):
    return images.astype(jnp.float32) / 64 - 2


def augment(batch, step):
    return normalise(batch["image"]) * (1 + step / 100), batch["label"]


def loss(logits, labels):
    """Cross entropy; an example with a label of -1 has a loss and gradients of NaN."""
    losses = cross_entropy(logits, jnp.maximum(labels, 0))
    return losses + jnp.where(labels < 0, jnp.nan, 0) * jnp.sum(logits, axis=1)


class StopAt:
    """A request to stop at the so-manieth time that it is asked about; None for never."""

    def __init__(self, count=None):
        self._left = count

    def reached(self):
        if self._left is None:
            return False
        self._left -= 1
        return self._left == 0


LAYOUT = JitLayout((jax.devices()[0],))


@functools.cache
def compiled():
    model, optimizer = OneLayer(), make_optimizer(OPTIMIZER)
    train_step = make_train_step(
        model,
        optimizer,
        lambda step: jnp.float32(OPTIMIZER.learning_rate),
        augment,
        seed=0,
        steps_per_epoch=STEPS_PER_EPOCH,
        log_every=3,
        loss=loss,
        plateau_factor=PLATEAU.factor,
        average=averaging(OPTIMIZER, STEPS_PER_EPOCH),
    )
    create = functools.partial(create_state, model, optimizer, seed=0, averaged=True)
    return (
        jax.jit(create, compiler_options=QUICKLY)(jnp.zeros((1, 4, 4, 1))),
        LAYOUT.compile(train_step),
        LAYOUT.compile(make_eval_step(model, normalise)),
        LAYOUT.compile(make_statistics_step(model, augment, seed=0)),
        LAYOUT.compile(lambda state: l2_penalty(OPTIMIZER, state.variables()["params"])),
        LAYOUT.compile(state_is_finite),
    )


def restored(state, newest):
    step, complaints = newest.newest_sound()
    assert not complaints
    if step is None:
        return state
    like = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)  # noqa: E731
    return newest.restore(step, jax.tree.map(like, state))


def examples(step):
    """What the records are told that a step's batch holds."""
    return range(step * BATCH, (step + 1) * BATCH)


def run(
    workdir,
    *,
    stop_at=None,
    schedule=PLATEAU,
    statistics=0,
    every=None,
    wrong=(),
    around=lambda step: step,
    notes=None,
    pause=0.0,
    **train,
):
    """Goes on from what is in the folder, and gives the last state and its evaluation's loss.

    Args:
      wrong: the numbers of the batches, from 0, with an example whose loss is not finite.
      around: a function of the compiled training step that gives another.
      notes: a stream for what the run says.
      pause: seconds that each training batch takes to come.
    """
    initial, train_step, eval_step, statistics_step, penalty, is_finite = compiled()
    stop = StopAt(stop_at)
    newest, best = (Checkpoints(workdir / name, keep=keep) for name, keep in NAMES)
    state = restored(LAYOUT.distribute(initial), newest)
    step, evaluated = int(state.step), int(state.evaluated)
    bar = Progress(total=0, description="", enabled=notes is not None, stream=notes)

    def stream(start, stop):
        batches = [batch(number) for number in range(start, stop)]
        for number in set(wrong) & set(range(start, stop)):
            batches[number - start]["label"][5] = -1

        def come():
            for each in batches:
                time.sleep(pause)
                yield each

        return contextlib.nullcontext(come())

    def finalize(state):
        first = int(state.step)
        batches = stream(first, first + statistics)
        return with_exact_statistics(
            state, statistics_step, batches, layout=LAYOUT, stop=stop, progress=bar
        )

    def evaluated_on(state):
        held_out = stream(1000, 1003)
        return evaluate(
            state, eval_step, held_out, layout=LAYOUT, num_classes=3, stop=stop, progress=bar
        )

    done = evaluated * STEPS_PER_EPOCH >= step
    config = TrainConfig(batch_size=BATCH, log_every=3, **train)
    with Records(workdir, step=step, evaluated=done) as records:
        try:
            state, sums = Trainer(
                layout=LAYOUT,
                train_step=around(train_step),
                evaluate=evaluated_on,
                batches=stream,
                steps_per_epoch=STEPS_PER_EPOCH,
                config=config,
                schedule=schedule,
                penalty=penalty,
                nonfinite=NonFiniteUpdates(
                    layout=LAYOUT,
                    is_finite=is_finite,
                    examples=examples,
                    limit=config.max_nonfinite,
                    steps_per_epoch=STEPS_PER_EPOCH,
                    before=LAYOUT.fetch(state.left_out),
                    records=records,
                    progress=bar,
                ),
                begin_epoch=None,
                finalize=finalize if statistics else None,
                checkpoint_every=every,
                newest=newest,
                best=best,
                meta={},
                records=records,
                progress=bar,
                stop=stop,
                timeline=Timeline(),
                earlier=EarlierStarts(),
            ).run(state)
        finally:
            newest.close()
            best.close()
    return state, float(sums.total.loss) / int(sums.total.count)


NAMES = (("checkpoints", 3), ("best", 1))


def kept(workdir, name):
    """The newest state of a folder, and its step."""
    checkpoints = Checkpoints(workdir / name, keep=1)
    state = restored(LAYOUT.distribute(compiled()[0]), checkpoints)
    checkpoints.close()
    return state


def records(workdir, kind):
    return [line for line in read_metrics(workdir / "metrics.jsonl") if line["kind"] == kind]


def assert_same(workdir, reference):
    """To the bit: the newest and the best state, and the records."""
    for name, _ in NAMES:
        chex.assert_trees_all_equal(kept(workdir, name), kept(reference, name))
    ours, expected = ((w / "metrics.jsonl").read_bytes() for w in (workdir, reference))
    assert ours == expected


@pytest.fixture(scope="module")
def plateau(tmp_path_factory):
    """A run whose rate is reduced, and that early stopping ends before its last epoch."""
    workdir = tmp_path_factory.mktemp("plateau")
    return workdir, *run(workdir, epochs=50)


def test_a_plateau_reduces_the_rate_and_early_stopping_ends_the_run(plateau):
    workdir, state, _ = plateau
    watched = [line["objective"] for line in records(workdir, "eval")]
    best, stale, reductions = np.inf, 0, 0
    for value in watched:
        stale = 0 if value < best else stale + 1
        best = min(best, value)
        reductions += value > best  # with a patience of 1
    assert stale == PLATEAU.early_stopping
    assert int(state.plateau.reductions) == reductions > 4
    assert 6 < len(watched) < 50
    rate = records(workdir, "train")[-1]["learning_rate"]
    before_last = reductions - 1  # the last reduction came after the last step
    np.testing.assert_allclose(rate, OPTIMIZER.learning_rate * 0.5**before_last, rtol=1e-5)


@pytest.mark.parametrize("stop_at", [2, 6, 13, 20, 29, 38, 43, 50, 62])
def test_stopped_anywhere_a_plateau_ends_as_if_it_had_not_been(plateau, stop_at, tmp_path):
    """Within an epoch, in an evaluation, before and after a reduction; and then once more."""
    for count in (stop_at, 3):
        with pytest.raises(Interrupted):
            run(tmp_path, epochs=50, stop_at=count)
    _, loss = run(tmp_path, epochs=50)
    assert_same(tmp_path, plateau[0])
    assert loss == plateau[2]


def test_what_the_monitor_sees_is_the_loss_and_the_penalty(plateau):
    workdir, state, loss = plateau
    line = records(workdir, "eval")[-1]
    kernels = [layer["kernel"] for layer in (state.ema["fc"], state.ema["logits"])]
    penalty = 0.5 * OPTIMIZER.weight_decay * sum(np.sum(np.square(k)) for k in kernels)
    assert line["loss"] == pytest.approx(loss)
    assert line["objective"] == pytest.approx(loss + penalty, rel=1e-6)


CONSTANT = ScheduleConfig()
PART = {"steps": 10, "schedule": CONSTANT}


def test_a_run_may_end_within_an_epoch(tmp_path):
    state, loss = run(tmp_path, **PART, every=5)
    assert int(state.step) == 10
    assert [line["step"] for line in records(tmp_path, "train")] == [3, 4, 6, 8, 9, 10]
    for kind in ("epoch", "eval"):
        assert [line["epoch"] for line in records(tmp_path, kind)] == [1, 2, 2.5]
    assert records(tmp_path, "eval")[-1]["loss"] == pytest.approx(loss)
    assert int(state.epoch.count) == 2 * BATCH
    chex.assert_trees_all_equal(kept(tmp_path, "checkpoints"), state)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again, same = run(tmp_path, **PART)  # its result was lost
    chex.assert_trees_all_equal(again, state)
    assert (same, (tmp_path / "metrics.jsonl").read_bytes()) == (loss, before)


@pytest.mark.parametrize("stop_at", [1, 12, 20, 21])
def test_a_run_that_ends_within_an_epoch_goes_on_from_where_it_was_stopped(stop_at, tmp_path):
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    run(undisturbed, **PART, statistics=3)
    with pytest.raises(Interrupted):
        run(stopped, **PART, statistics=3, stop_at=stop_at)
    run(stopped, **PART, statistics=3)
    assert_same(stopped, undisturbed)


def test_a_run_that_is_forced_beyond_its_end_evaluates_the_rest_of_the_epoch(tmp_path):
    run(tmp_path, **PART)
    state, _ = run(tmp_path, steps=13, schedule=CONSTANT)
    assert int(state.step) == 13
    assert [line["step"] for line in records(tmp_path, "eval")] == [4, 8, 10, 12, 13]


def expected_statistics(params, first, count):
    """Mean and variance of what BatchNorm sees in all images of some batches together."""
    layer = jax.tree.map(lambda x: np.asarray(x, np.float64), params["fc"])
    images = [np.asarray(augment(batch(step), step)[0]) for step in range(first, first + count)]
    rows = np.concatenate(images).reshape(count * BATCH, -1).astype(np.float64)
    seen = rows @ layer["kernel"] + layer["bias"]
    return seen.mean(0), seen.var(0)


def test_exact_statistics_are_those_of_the_batches_that_would_come_next(tmp_path):
    state, _ = run(tmp_path, epochs=4, schedule=CONSTANT, statistics=7)
    mean, variance = expected_statistics(state.ema, 16, 7)
    np.testing.assert_allclose(state.batch_stats["bn"]["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.batch_stats["bn"]["var"], variance, rtol=1e-5)
    chex.assert_trees_all_equal(kept(tmp_path, "checkpoints"), state)
    # It is what was evaluated, and the training before is the same.
    plain, loss = run(tmp_path / "plain", epochs=4, schedule=CONSTANT)
    chex.assert_trees_all_equal(plain.params, state.params)
    assert records(tmp_path, "eval")[-1]["loss"] != pytest.approx(loss)
    assert records(tmp_path, "train") == records(tmp_path / "plain", "train")


def test_exact_statistics_after_an_early_end(plateau, tmp_path):
    state, loss = run(tmp_path, epochs=50, statistics=2)
    mean, _ = expected_statistics(state.ema, int(state.step), 2)
    np.testing.assert_allclose(state.batch_stats["bn"]["mean"], mean, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(kept(tmp_path, "checkpoints"), state)
    # The monitors have seen what they see without them.
    assert (tmp_path / "metrics.jsonl").read_bytes() == (plateau[0] / "metrics.jsonl").read_bytes()
    assert loss != plateau[2]
    again, same = run(tmp_path, epochs=50, statistics=2)
    chex.assert_trees_all_equal(again, state)
    assert same == loss


def test_a_finished_run_can_be_given_exact_statistics(tmp_path):
    plain, _ = run(tmp_path, steps=8, schedule=CONSTANT)
    state, _ = run(tmp_path, steps=8, schedule=CONSTANT, statistics=2)
    mean, _ = expected_statistics(state.ema, 8, 2)
    np.testing.assert_allclose(state.batch_stats["bn"]["mean"], mean, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(state.params, plain.params)
    chex.assert_trees_all_equal(kept(tmp_path, "checkpoints"), state)


def test_what_share_of_the_time_is_spent_waiting_for_data_is_recorded(tmp_path):
    def waiting(name, pause):
        run(tmp_path / name, epochs=1, pause=pause)
        lines = read_timings(tmp_path / name / "timings.jsonl")
        return [line["waiting_for_data"] for line in lines if "waiting_for_data" in line]

    waiting("compiling", 0)
    quick, slow = waiting("quick", 0), waiting("slow", 0.3)
    assert len(quick) == len(slow) == 2  # of steps 1 to 3, and of step 4
    assert all(0 <= one < other <= 1 for one, other in zip(quick, slow, strict=True))
    assert min(slow) > 0.5
