"""The training and the evaluation step, as functions."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn import models
from jaxcnn.losses import cross_entropy
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


def normalise(images):
    return images.astype(jnp.float32) / 128 - 1


def augment(batch, step):
    return normalise(batch["image"]), batch["label"]


def start(*, name="vgg11", averaged=False, optimizer="momentum", **step_options):
    model = models.create_model(name, **FIELDS)
    chain = make_optimizer(OptimizerConfig(name=optimizer))
    state = create_state(model, chain, jnp.zeros((1, 32, 32, 1)), seed=0, averaged=averaged)
    options = {"seed": 0, "steps_per_epoch": 4, "log_every": 2} | step_options
    rate = options.pop("rate", lambda step: jnp.float32(0.01))
    return state, make_train_step(model, chain, rate, augment, **options)


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
            model, chain, lambda s: 0.1, augment, seed=0, steps_per_epoch=4, log_every=2
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
    state, step = start(averaged=True, average=lambda step: 1 - 0.9)
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
    logits = model.apply(state.variables(), normalise(jnp.asarray(batch()["image"])))
    assert int(one.total.correct) == int(np.sum(logits.argmax(1) == batch()["label"]))
    assert int(two.total.count) == 16
    assert int(two.total.correct) == 2 * int(one.total.correct)


# Auxiliary classifiers.


class TwoHeads(nn.Module):
    """A network whose second head is seen in training alone."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(6, name="body")(images.reshape(images.shape[0], -1))
        if train or self.is_initializing():
            logits = nn.Dense(3, name="aux")(x)
            if not self.is_initializing():
                self.sow("aux_logits", "head", logits, reduce_fn=lambda _, last: last)
        return nn.Dense(3, name="logits")(x)


def two_heads(**options):
    chain = make_optimizer(OptimizerConfig(momentum=0.0))
    state = create_state(TwoHeads(), chain, jnp.zeros((1, 32, 32, 1)), seed=0)
    options = {"seed": 0, "steps_per_epoch": 4, "log_every": 2} | options
    return state, make_train_step(TwoHeads(), chain, lambda s: 0.01, augment, **options)


def test_the_loss_has_a_share_of_each_auxiliary_classifiers():
    state, step = two_heads()
    after, metrics = jax.jit(step)(state, batch())
    images = normalise(jnp.asarray(batch()["image"]))
    logits, updated = TwoHeads().apply(state.variables(), images, train=True, mutable="aux_logits")
    own, auxiliary = (
        cross_entropy(x, batch()["label"]).mean() for x in (logits, updated["aux_logits"]["head"])
    )
    np.testing.assert_allclose(metrics["loss"], own + 0.3 * auxiliary, rtol=1e-5)
    np.testing.assert_allclose(after.window.loss / 8, own, rtol=1e-5)
    state, step = two_heads(auxiliary_weight=0.0)
    after, metrics = jax.jit(step)(state, batch())
    np.testing.assert_allclose(metrics["loss"], own, rtol=1e-5)
    chex.assert_trees_all_equal(after.params["aux"], state.params["aux"])


def test_auxiliary_classifiers_train_the_same_under_jit_and_pmap():
    results = []
    for layout in (JitLayout(tuple(jax.devices())), PmapLayout(tuple(jax.devices()))):
        state, step = two_heads(axis_name=layout.axis_name)
        state, compiled = layout.replicate(state), layout.compile(step)
        for seed in range(3):
            state, metrics = compiled(state, layout.place(batch(seed=seed)))
        results.append(layout.fetch((state.params, metrics)))
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.full
def test_googlenets_auxiliary_classifiers_are_trained_and_do_not_change_what_it_answers():
    model = models.GoogLeNet(num_classes=3, width=8, initialization="he")
    images = jnp.zeros((1, 32, 32, 1))
    chain = make_optimizer(OptimizerConfig(momentum=0.0))
    quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    state = quickly(lambda: create_state(model, chain, images, seed=0))()

    @quickly
    def moved(weight):
        step = make_train_step(
            model,
            chain,
            lambda step: 0.1,
            augment,
            seed=0,
            steps_per_epoch=4,
            log_every=2,
            auxiliary_weight=weight,
        )
        after, _ = step(state, batch())
        return jax.tree.map(lambda a, b: jnp.max(abs(a - b)), after.params, state.params)

    with_them, without = moved(0.3), moved(0.0)
    for head in ("aux_4a", "aux_4d"):
        assert min(jax.tree.leaves(with_them[head])) > 0
        assert max(jax.tree.leaves(without[head])) == 0
    # The modules below them learn from them too.
    below = "inception_4a"
    assert jax.tree.leaves(with_them[below]) != jax.tree.leaves(without[below])
    # What it answers is computed without them: it needs none of their parameters.
    answer = lambda params: model.apply({"params": params}, images, mutable="aux_logits")  # noqa: E731
    without_heads = {k: v for k, v in state.params.items() if not k.startswith("aux")}
    logits, sown = jax.eval_shape(answer, without_heads)
    assert logits.shape == (1, 3)
    assert not sown
