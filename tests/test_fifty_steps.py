"""Fifty steps by every form of an update follow PyTorch's, Keras' and those written by hand.

The rate is divided by ten within them. Against what `make_references.py` stored of its network
`Small`, in float64, on the same seeded weights and images.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from networks import QUICKLY
from reference_networks import references, tensors
from reference_weights import projection, uniform

from jaxcnn.models.layers import BatchNorm
from jaxcnn.training.criteria import training_loss
from jaxcnn.training.optimizers import OptimizerConfig, averaging, l2_penalty, make_optimizer
from jaxcnn.training.schedules import ScheduleConfig, make_schedule
from jaxcnn.training.steps import create_state, make_train_step

STEPS, BATCHES, BATCH = 50, 5, 16


class Small(nn.Module):
    """The references' network of the same name."""

    @nn.compact
    def __call__(self, x, *, train=False):
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), dtype=jnp.float64)
        norm = functools.partial(
            BatchNorm, use_running_average=not train, dtype=jnp.float64, param_dtype=jnp.float64
        )
        x = nn.relu(norm(name="bn1")(conv(6, name="conv1")(x)))
        x = nn.relu(norm(name="bn2")(conv(8, name="conv2")(nn.max_pool(x, (2, 2), (2, 2)))))
        x = nn.relu(nn.Dense(12, name="fc3", dtype=jnp.float64)(x.mean((1, 2))))
        return nn.Dense(10, name="logits", dtype=jnp.float64)(x)


@dataclasses.dataclass(frozen=True)
class Form:
    """The configuration of one of the references' forms."""

    optimizer: OptimizerConfig
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0


def form(name, rate, *, loss="cross_entropy", label_smoothing=0.0, **fields):
    return Form(OptimizerConfig(name=name, learning_rate=rate, **fields), loss, label_smoothing)


FORMS = {
    "momentum": form("momentum", 0.05, weight_decay=5e-3),
    "momentum_all": form("momentum", 0.05, weight_decay=5e-3, decay="all"),
    "momentum_layers": form("momentum", 0.05, weight_decay=5e-2, decay_layers="conv2|fc.*"),
    "paper_momentum": form("paper_momentum", 0.05, weight_decay=5e-4),
    "filter_rms": form("paper_momentum", 0.05, weight_decay=5e-4, filter_rms=0.1),
    "adam": form("adam", 0.005),
    "adam_l2": form("adam", 0.005, weight_decay=1e-2),
    "adam_keras": form(
        "adam", 0.005, epsilon=1e-7, epsilon_hat=True, weight_decay=2e-4, decay_layers="conv2"
    ),
    "adamw": form("adamw", 0.005, weight_decay=0.5),
    "map": form("momentum", 0.05, loss="map"),
    "smoothed": form("momentum", 0.05, label_smoothing=0.1),
}


def to_ours(name, array):
    """The path and the layout here of an array of PyTorch's."""
    layer, kind = name.split(".")
    if kind == "weight":
        kind = "scale" if layer.startswith("bn") else "kernel"
    return (layer, kind), array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim])


def to_theirs(name, tree):
    """The array of a tree of ours that PyTorch has by that name, in its layout."""
    (layer, kind), _ = to_ours(name, np.zeros(1))
    array = np.asarray(tree[layer][kind])
    return array.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim])


def batch(step):
    pictures = uniform("fifty steps", (BATCHES * BATCH, 3, 8, 8)).transpose(0, 2, 3, 1)
    rows = np.arange(BATCH) + step % BATCHES * BATCH
    return {
        "image": pictures[rows].astype(np.float64),
        "label": (rows * 7 % 10).astype(np.int32),
        "index": rows.astype(np.int32),
        "weight": np.ones(BATCH, np.float32),
    }


@functools.cache
def untrained():
    create = functools.partial(create_state, Small(), optax.identity(), seed=0, averaged=True)
    return jax.jit(create, compiler_options=QUICKLY)(jnp.zeros((1, 8, 8, 3)))


def fifty_steps(config, loss, label_smoothing):
    """The losses, and the state after them."""
    optimizer = make_optimizer(config)
    weights = dict(to_ours(*item) for item in stored_weights().items())
    params = unflatten_dict({path: jnp.asarray(x, jnp.float64) for path, x in weights.items()})
    # Ten steps an epoch: Polyak's average begins after step 20, the rate drops after step 25.
    state = dataclasses.replace(
        untrained(), params=params, ema=params, opt_state=optimizer.init(params)
    )
    step = make_train_step(
        Small(),
        optimizer,
        make_schedule(
            ScheduleConfig(kind="step", milestones=(25,)),
            config.learning_rate,
            steps_per_epoch=10,
            total_steps=STEPS,
        ),
        lambda batch, step: (batch["image"], batch["label"]),
        seed=0,
        steps_per_epoch=10,
        log_every=STEPS,
        loss=training_loss(loss, label_smoothing),
        average=averaging(config, steps_per_epoch=10),
    )
    compiled = jax.jit(step, compiler_options=QUICKLY)
    losses = []
    for number in range(STEPS):
        state, record = compiled(state, batch(number))
        losses.append(float(record["loss"]))
    return losses, state


def stored_weights():
    found = {name: x for name, x in tensors("optimizers", "Small").items() if "running" not in name}
    return {name: x.astype(np.float64) for name, x in found.items()}


def assert_as_stored(tree, place):
    """Parameters have the stored norms, and projections on random directions."""
    stored = references("optimizers")
    for name, (norm, projected) in zip(
        json.loads(stored[f"{place}/names"]), stored[f"{place}/norms"], strict=True
    ):
        ours = to_theirs(name, tree)
        assert np.linalg.norm(ours) == pytest.approx(norm, rel=1e-6), name
        assert projection(name, ours) == pytest.approx(projected, abs=1e-6 * norm), name


@pytest.mark.parametrize("name", FORMS)
def test_fifty_steps(name):
    form = FORMS[name]
    config = dataclasses.replace(form.optimizer, polyak=2)
    with jax.enable_x64(True):
        losses, state = fifty_steps(config, form.loss, form.label_smoothing)
    np.testing.assert_allclose(losses, references("optimizers")[f"{name}/losses"], rtol=1e-6)
    assert_as_stored(state.params, f"{name}/parameters")
    assert_as_stored(state.ema, f"{name}/average")
    assert losses[-1] < losses[0] / 1.1


def test_no_two_forms_are_the_same():
    losses = np.array([references("optimizers")[f"{name}/losses"] for name in FORMS])
    apart = np.abs(losses[:, None] - losses).max(axis=-1) + np.eye(len(FORMS))
    assert apart.min() > 1e-4


def test_the_penalty_is_that_of_keras():
    """L2(1e-4) is 1e-4 times the sum of squares of one layer's kernel."""
    weights = dict(to_ours(*item) for item in stored_weights().items())
    expected = 1e-4 * np.sum(weights["conv2", "kernel"] ** 2)
    params = unflatten_dict(weights)
    config = FORMS["adam_keras"].optimizer
    assert float(l2_penalty(config, params)) == pytest.approx(expected, rel=1e-6)
    frozen = dataclasses.replace(config, freeze="conv2")
    assert float(l2_penalty(frozen, params)) == 0
    everything = dataclasses.replace(config, decay_layers=".*", decay="all")
    total = sum(np.sum(x**2) for x in weights.values())
    assert float(l2_penalty(everything, params)) == pytest.approx(1e-4 * total, rel=1e-6)
