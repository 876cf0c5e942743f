"""The training and the evaluation step, as functions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.training.devices import JitLayout, PmapLayout
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import create_state, make_eval_step, make_train_step

FIELDS = {"num_classes": 3, "width": 4, "hidden": (8,), "pooled_size": 1, "initialization": "he"}


def batch(count=8, seed=0):
    random = np.random.default_rng(seed)
    return {
        "image": random.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8),
        "label": random.integers(0, 3, count).astype(np.int32),
        "index": np.arange(count, dtype=np.int32),
        "weight": np.ones(count, np.float32),
    }


def normalise(images, indices, step):
    return images.astype(jnp.float32) / 128 - 1


def start(*, name="vgg11", averaged=False, optimizer="momentum", **step_options):
    model = models.create_model(name, **FIELDS)
    chain = make_optimizer(OptimizerConfig(name=optimizer))
    state = create_state(model, chain, jnp.zeros((1, 32, 32, 1)), seed=0, averaged=averaged)
    options = {"seed": 0, "steps_per_epoch": 4, "log_every": 2} | step_options
    rate = options.pop("rate", lambda step: jnp.float32(0.01))
    return state, make_train_step(model, chain, rate, normalise, **options)


def test_nothing_is_compiled_twice():
    state, step = start(name="vgg11_bn")
    step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    for seed in range(6):  # over the ends of windows and of an epoch
        state, metrics = step(state, batch(seed=seed))
    chex.assert_tree_all_finite((state.params, state.batch_stats, metrics))
    chex.clear_trace_counter()


@pytest.mark.parametrize("layout_class", [JitLayout, PmapLayout])
def test_nothing_is_compiled_twice_on_eight_devices(layout_class):
    layout = layout_class(tuple(jax.devices()))
    traces = []
    state, step = start(axis_name=layout.axis_name)

    def counted(state, batch):
        traces.append(1)
        return step(state, batch)

    compiled = layout.compile(counted, donate=(0,))
    state = layout.replicate(state)
    for seed in range(4):
        state, _ = compiled(state, layout.place(batch(seed=seed)))
    assert len(traces) == 1


def test_what_does_not_count_changes_nothing():
    """An image of weight 0 has no part in the loss, the gradients or the counts."""
    # Without dropout and BatchNorm an example is on its own.
    model = models.create_model("vgg11", **FIELDS, dropout=0.0)
    chain = make_optimizer(OptimizerConfig())
    state = create_state(model, chain, jnp.zeros((1, 32, 32, 1)), seed=0)
    step = jax.jit(
        make_train_step(
            model, chain, lambda s: 0.1, normalise, seed=0, steps_per_epoch=4, log_every=2
        )
    )
    whole = batch(6)
    padded = {k: np.concatenate([v, batch(2, seed=9)[k]]) for k, v in whole.items()}
    padded["weight"][6:] = 0
    after, metrics = step(state, whole)
    after_padded, metrics_padded = step(state, padded)
    np.testing.assert_allclose(metrics["loss"], metrics_padded["loss"], rtol=1e-6)
    chex.assert_trees_all_close(after.params, after_padded.params, atol=1e-6)
    assert int(after_padded.epoch.count) == 6


def test_windows_and_epochs_start_again_from_nothing():
    state, step = start()
    step = jax.jit(step)
    counts = []
    for seed in range(5):
        state, _ = step(state, batch(seed=seed))
        counts.append((int(state.window.count), int(state.epoch.count)))
    assert counts == [(8, 8), (16, 16), (8, 24), (16, 32), (8, 8)]


def test_a_reduction_on_a_plateau_scales_the_rate():
    state, step = start(plateau_factor=0.1)
    state = state.replace(plateau=state.plateau.replace(reductions=jnp.int32(2)))
    _, metrics = jax.jit(step)(state, batch())
    np.testing.assert_allclose(metrics["learning_rate"], 0.01 * 0.1**2, rtol=1e-6)


def test_the_moving_average_of_the_parameters():
    state, step = start(averaged=True, ema=0.9)
    after, _ = jax.jit(step)(state, batch())
    expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, state.ema, after.params)
    chex.assert_trees_all_close(after.ema, expected, atol=1e-7)
    chex.assert_trees_all_equal(after.variables()["params"], after.ema)
    assert start()[0].ema is None


def test_the_loss_falls_on_a_batch_seen_again():
    state, step = start(name="vgg11_bn", optimizer="adam")
    step, losses = jax.jit(step), []
    for _ in range(15):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_dropout_changes_with_the_step_and_the_seed():
    same = lambda **o: jax.jit(start(**o)[1])(start()[0], batch())[1]["loss"]  # noqa: E731
    assert float(same()) == float(same())
    assert float(same()) != float(same(seed=1))
    state, step = start(rate=lambda step: jnp.float32(0))
    first, metrics = jax.jit(step)(state, batch())
    _, again = jax.jit(step)(first, batch())
    assert float(metrics["loss"]) != float(again["loss"])


def test_evaluation_uses_the_running_statistics_and_no_dropout():
    state, _ = start(name="vgg11_bn")
    model = models.create_model("vgg11_bn", **FIELDS)
    step = jax.jit(make_eval_step(model, normalise))
    one = step(state.variables(), ClassSums.zeros(3), batch())
    two = step(state.variables(), one, batch())
    logits = model.apply(state.variables(), normalise(jnp.asarray(batch()["image"]), None, None))
    assert int(one.total.correct) == int(np.sum(logits.argmax(1) == batch()["label"]))
    assert int(two.total.count) == 16
    assert int(two.total.correct) == 2 * int(one.total.correct)
