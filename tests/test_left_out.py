"""An update that is not finite is left out on every device, as if it had never been computed."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.losses import cross_entropy
from jaxcnn.models.layers import BatchNorm, Dropout
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.left_out import all_finite
from jaxcnn.training.optimizers import OptimizerConfig, averaging, make_optimizer
from jaxcnn.training.steps import create_state, make_train_step

BATCH, CLASSES, STEPS_PER_EPOCH = 16, 4, 4
OPTIMIZER = OptimizerConfig(name="adam", weight_decay=1e-2, ema=0.9)
# What is wrong with an example is said by its label.
NAN_IMAGE, NAN_LOSS, NAN_GRADIENT, INFINITE_GRADIENT = -1, -2, -3, -4
WRONG = {
    "an image of NaN": NAN_IMAGE,
    "a loss of NaN without a gradient": NAN_LOSS,
    "a loss and a gradient of NaN": NAN_GRADIENT,
    "an infinite gradient of a finite loss": INFINITE_GRADIENT,
}
LAYOUTS = {
    "one device": ParallelConfig(devices=1),
    "jit": ParallelConfig(),
    "pmap": ParallelConfig(mode="pmap"),
    "split": ParallelConfig(model=2, split="fc|logits"),
}
KEPT = ("params", "batch_stats", "opt_state", "ema", "window", "epoch")


class Network(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(8, name="fc")(images.reshape(images.shape[0], -1))
        bn = BatchNorm(name="bn", use_running_average=not train, axis_name=self.axis_name)
        x = Dropout(0.25, axis_name=self.axis_name)(nn.relu(bn(x)), train=train)
        return nn.Dense(CLASSES, name="logits")(x)


@jax.custom_vjp
def cliff(x):
    """Zero, with a slope that is infinite wherever it matters."""
    return jnp.zeros_like(x)


cliff.defvjp(
    lambda x: (cliff(x), None), lambda _, g: (jnp.where(g == 0, 0, jnp.inf).astype(g.dtype),)
)


def augment(batch, step):
    del step
    wrong = (batch["label"] == NAN_IMAGE)[:, None, None, None]
    return jnp.where(wrong, jnp.nan, batch["image"] / 64.0 - 2), batch["label"]


def loss(logits, labels):
    losses = cross_entropy(logits, jnp.maximum(labels, 0))
    some = jnp.sum(logits, axis=1)
    losses = jnp.where(labels == NAN_LOSS, jnp.nan, losses)
    losses += jnp.where(labels == NAN_GRADIENT, jnp.nan, 0) * some
    return losses + jnp.where(labels == INFINITE_GRADIENT, cliff(some), 0)


def batch(step, wrong=None):
    random = np.random.default_rng(step)
    found = {
        "image": random.integers(0, 256, (BATCH, 2, 2, 1), dtype=np.uint8),
        "label": random.integers(0, CLASSES, BATCH).astype(np.int32),
        "index": np.arange(BATCH, dtype=np.int32),
        "weight": np.ones(BATCH, np.float32),
    }
    found["weight"][3] = 0  # as of an image that was skipped
    if wrong is not None:
        found["label"][13] = wrong
    return found


@functools.cache
def made(name):
    layout = make_layout(LAYOUTS[name])
    chain = make_optimizer(OPTIMIZER)
    step = make_train_step(
        Network(axis_name=layout.axis_name),
        chain,
        lambda step: 0.1 / (1 + step),
        augment,
        seed=0,
        steps_per_epoch=STEPS_PER_EPOCH,
        log_every=3,
        loss=loss,
        average=averaging(OPTIMIZER, STEPS_PER_EPOCH),
        axis_name=layout.axis_name,
    )
    state = create_state(Network(), chain, jnp.zeros((1, 2, 2, 1)), seed=0, averaged=True)
    return layout, jax.device_get(state), layout.compile(step, donate=(0,))


def trained(name, wrong, *, omit=False):
    """The state after some steps, and each one's metrics.

    Args:
      name: of the layout.
      wrong: from a step to what is wrong with one of its examples.
      omit: do not compute those steps at all.
    """
    layout, state, train_step = made(name)
    state, seen = layout.distribute(state), []
    for step in range(7):
        if omit and step in wrong:
            state = state.replace(step=layout.replicate(np.int32(step + 1)))
            continue
        state, metrics = train_step(state, layout.place(batch(step, wrong.get(step))))
        seen.append(layout.fetch(metrics))
    return state, seen


def replicas(array):
    """By the place in the array, what the devices hold there."""
    found = {}
    for shard in array.addressable_shards:
        found.setdefault(str(shard.index), []).append(np.asarray(shard.data))
    return found.values()


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_that_is_not_finite_is_as_if_it_were_left_out(name, wrong):
    layout = made(name)[0]
    state, seen = trained(name, {2: wrong})
    expected, _ = trained(name, {2: wrong}, omit=True)
    assert [bool(metrics["finite"]) for metrics in seen] == [step != 2 for step in range(7)]
    assert np.isfinite(seen[2]["loss"]) == (wrong == INFINITE_GRADIENT)
    for part in KEPT:
        ours, theirs = (layout.fetch(getattr(s, part)) for s in (state, expected))
        chex.assert_trees_all_equal(ours, theirs)
        chex.assert_tree_all_finite(ours)
    assert int(layout.fetch(state.step)) == 7
    # Every device that holds a part holds the same.
    for leaf in jax.tree.leaves(layout.to_mesh(state)):
        for held in replicas(leaf):
            for other in held[1:]:
                np.testing.assert_array_equal(other, held[0])
    assert any(len(held) > 1 for held in replicas(layout.to_mesh(state).step)) == (
        name != "one device"
    )


@pytest.mark.parametrize("name", ["one device", "pmap"])
def test_what_was_left_out_is_counted(name):
    layout, state, train_step = made(name)
    state, counts = layout.distribute(state), []
    for step, wrong in enumerate([1, 0, 1, 1, 1, 0]):
        state, _ = train_step(state, layout.place(batch(step, NAN_LOSS if wrong else None)))
        left_out, read = layout.fetch((state.left_out, state.epoch.count))
        counts.append((*map(int, (left_out.updates, left_out.in_a_row, left_out.examples)), read))
    examples = BATCH - 1
    assert counts == [
        (1, 1, examples, 0),
        (1, 0, examples, examples),
        (2, 1, 2 * examples, examples),
        (3, 2, 3 * examples, examples),
        (4, 3, examples, 0),  # of the next epoch
        (4, 0, examples, examples),
    ]


OPTIMIZERS = {
    **{
        name: {"name": name}
        for name in ("momentum", "paper_momentum", "adam", "adamw", "levenberg_marquardt")
    },
    "epsilon_hat": {"name": "adam", "epsilon_hat": True},
    "freeze": {"name": "adam", "freeze": "fc", "multipliers": ("logits=10",)},
    "filter_rms": {"name": "momentum", "filter_rms": 0.1},
}


@pytest.mark.parametrize("fields", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_an_optimizer_remembers_nothing_of_what_is_left_out(fields):
    chain = make_optimizer(OptimizerConfig(weight_decay=0.1, **fields))
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    params = {
        "fc": {"kernel": draw(2, 3), "bias": draw(3)},
        "logits": {"kernel": draw(3, 3, 2, 4), "bias": draw(4)},
    }
    update = jax.jit(functools.partial(chain.update, learning_rate=0.1))
    _, state = update(params, chain.init(params), params, finite=True)
    bad = jax.tree.map(lambda x: jnp.where(x > 0, jnp.nan, jnp.inf), params)
    _, after = update(bad, state, params, finite=False)
    chex.assert_trees_all_equal(after, state)
    # And left to itself it would.
    remembers = fields["name"] != "levenberg_marquardt"
    _, spoilt = update(bad, state, params)
    leaves = [x for x in jax.tree.leaves(spoilt) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(np.all(np.isfinite(x)) for x in leaves) == (not remembers)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_one_number_anywhere_is_seen(value, dtype):
    size = 1000
    tree = {"counts": jnp.arange(3), "kernel": jnp.ones((2, size), dtype), "none": None}
    assert bool(all_finite(tree))
    assert bool(all_finite({}))
    seen = jax.jit(jax.vmap(lambda at: all_finite({**tree, "x": jnp.ones(size).at[at].set(value)})))
    assert not np.any(seen(jnp.arange(size)))
    with_it = tree["kernel"].at[1, 7].set(value)
    assert not bool(all_finite({**tree, "kernel": with_it}))


def test_the_updated_state_takes_the_place_of_the_old_one():
    """No second copy of the parameters or of what the optimizer remembers of them is made."""

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            del train
            return nn.Dense(CLASSES, name="logits")(
                nn.Dense(2**16, name="fc")(images.reshape(images.shape[0], -1))
            )

    chain = make_optimizer(OPTIMIZER)
    step = make_train_step(
        Wide(),
        chain,
        lambda step: 0.1,
        augment,
        seed=0,
        steps_per_epoch=STEPS_PER_EPOCH,
        log_every=3,
        average=averaging(OPTIMIZER, STEPS_PER_EPOCH),
    )
    state = jax.eval_shape(
        lambda: create_state(Wide(), chain, jnp.zeros((1, 32, 32, 1)), seed=0, averaged=True)
    )
    given = batch(0) | {"image": np.zeros((BATCH, 32, 32, 1), np.uint8)}
    layout = make_layout(LAYOUTS["one device"])
    memory = layout.compile(step, donate=(0,)).lower(state, given).compile().memory_analysis()
    parameters = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
    assert memory.alias_size_in_bytes >= 4 * parameters  # with two moments and the average
    # The gradients, for each of which it is found whether it is finite (a byte), and activations.
    assert memory.temp_size_in_bytes < 1.5 * parameters
