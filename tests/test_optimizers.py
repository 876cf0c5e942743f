"""Each optimizer against its formula written out in numpy, a change of the rate included."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.errors import UserError
from jaxcnn.training.optimizers import OptimizerConfig, decay_mask, make_optimizer

PARAMS = {"conv": {"kernel": np.array([1.0, -2.0]), "bias": np.array([0.5])}}
RATES = [0.1] * 4 + [0.01] * 4


def gradient(step):
    random = np.random.default_rng(step)
    return jax.tree.map(lambda p: random.normal(size=p.shape), PARAMS)


def ours(config):
    # In float64: optax makes Adam's bias corrections, which cancel, in the precision it is given.
    with jax.enable_x64(True):
        optimizer = make_optimizer(config)
        params, state = jax.tree.map(jnp.asarray, PARAMS), optimizer.init(PARAMS)
        for step, rate in enumerate(RATES):
            updates, state = optimizer.update(gradient(step), state, params, learning_rate=rate)
            params = jax.tree.map(jnp.add, params, updates)
        return params["conv"]


def by_hand(update, name, decays):
    """Runs ``update(w, g, memory, rate, step, l) -> w`` on one parameter."""
    weights, memory = np.array(PARAMS["conv"][name], np.float64), {}
    for step, rate in enumerate(RATES):
        l2 = 0.01 if decays else 0.0
        weights = update(weights, gradient(step)["conv"][name], memory, rate, step, l2)
    return weights


def momentum(w, g, memory, rate, step, l2):
    memory["v"] = 0.9 * memory.get("v", 0) + g + l2 * w
    return w - rate * memory["v"]


def paper_momentum(w, g, memory, rate, step, l2):
    memory["v"] = 0.9 * memory.get("v", 0) + rate * (g + l2 * w)
    return w - memory["v"]


def moments(g, memory, step):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["s"] = 0.999 * memory.get("s", 0) + 0.001 * g**2
    first, second = memory["m"] / (1 - 0.9 ** (step + 1)), memory["s"] / (1 - 0.999 ** (step + 1))
    return first / (np.sqrt(second) + 1e-8)


def adam(w, g, memory, rate, step, l2):
    return w - rate * moments(g + l2 * w, memory, step)


def adamw(w, g, memory, rate, step, l2):
    return w - rate * (moments(g, memory, step) + l2 * w)


@pytest.mark.parametrize("decay", ["kernels", "all"])
@pytest.mark.parametrize("update", [momentum, paper_momentum, adam, adamw])
def test_against_the_formula(update, decay):
    result = ours(OptimizerConfig(name=update.__name__, weight_decay=0.01, decay=decay))
    for name in ("kernel", "bias"):
        expected = by_hand(update, name, decays=decay == "all" or name == "kernel")
        np.testing.assert_allclose(result[name], expected, rtol=1e-9)


@pytest.mark.parametrize("update", [momentum, paper_momentum, adam, adamw])
def test_a_layers_own_multiple_of_the_rate(update):
    fields = {"name": update.__name__, "weight_decay": 0.01, "decay": "all"}
    result = ours(OptimizerConfig(**fields, multipliers=("fc.*=7", "con.=0.1", "conv=100")))

    def tenth(w, g, memory, rate, step, l2):
        return update(w, g, memory, 0.1 * rate, step, l2)

    for name in ("kernel", "bias"):
        np.testing.assert_allclose(result[name], by_hand(tenth, name, decays=True), rtol=1e-9)


def test_without_patterns_the_state_is_what_it_was():
    """The structure that checkpoints of earlier versions have."""
    state = make_optimizer(OptimizerConfig()).init(PARAMS)
    expected = optax.chain(optax.identity(), optax.trace(0.9), optax.identity(), optax.identity())
    chex.assert_trees_all_equal_structs(state, expected.init(PARAMS))
    with_multiples = make_optimizer(OptimizerConfig(multipliers=("conv=2",))).init(PARAMS)
    chex.assert_trees_all_equal_structs(state, with_multiples)


def test_the_two_momenta_differ_only_when_the_rate_changes():
    torch_form = ours(OptimizerConfig(name="momentum"))["kernel"]
    paper_form = ours(OptimizerConfig(name="paper_momentum"))["kernel"]
    assert not np.allclose(torch_form, paper_form, rtol=1e-3)


def test_batch_norm_parameters_and_biases_do_not_decay_by_the_kernels_rule():
    params = {"conv": {"kernel": 0, "bias": 0}, "bn": {"scale": 0, "bias": 0}}
    assert decay_mask("kernels", params) == {
        "conv": {"kernel": True, "bias": False},
        "bn": {"scale": False, "bias": False},
    }
    assert all(jax.tree.leaves(decay_mask("all", params)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"ema": 1.5},
        {"epsilon": 0.0},
        {"freeze": "conv["},
        {"multipliers": ("conv[=2",)},
    ],
)
def test_what_cannot_work_is_one_sentence(wrong):
    with pytest.raises(UserError, match=f"optimizer.{next(iter(wrong))}="):
        OptimizerConfig(**wrong).check()


@pytest.mark.parametrize("text", ["logits", "=2", "logits=", "logits=fast", "fc=-1", "fc=0"])
def test_a_multiplier_that_is_none_is_one_sentence(text):
    with pytest.raises(UserError, match=f"'{text}', which is not PATTERN=MULTIPLE"):
        OptimizerConfig(multipliers=("conv=1", text)).check()
