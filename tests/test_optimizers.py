"""Each optimizer against its formula written out in numpy, a change of the rate included."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.errors import UserError
from jaxcnn.training.optimizers import OptimizerConfig, averaging, decay_mask, make_optimizer

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


def moments(g, memory, step, epsilon=1e-8):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["s"] = 0.999 * memory.get("s", 0) + 0.001 * g**2
    first, second = memory["m"] / (1 - 0.9 ** (step + 1)), memory["s"] / (1 - 0.999 ** (step + 1))
    return first / (np.sqrt(second) + epsilon)


def adam(w, g, memory, rate, step, l2):
    return w - rate * moments(g + l2 * w, memory, step)


def adamw(w, g, memory, rate, step, l2):
    return w - rate * (moments(g, memory, step) + l2 * w)


def keras_adam(w, g, memory, rate, step, l2):
    """keras/src/optimizers/adam.py, its `alpha` and its order of operations; epsilon is 0.1."""
    moments(g + l2 * w, memory, step)
    alpha = rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
    return w - alpha * memory["m"] / (np.sqrt(memory["s"]) + 0.1)


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


def test_epsilon_where_keras_has_it():
    result = ours(OptimizerConfig(name="adam", epsilon=0.1, epsilon_hat=True))["kernel"]
    np.testing.assert_allclose(result, by_hand(keras_adam, "kernel", decays=False), rtol=1e-6)
    elsewhere = ours(OptimizerConfig(name="adam", epsilon=0.1))["kernel"]
    assert np.abs(result - elsewhere).max() > 0.05


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


def test_only_the_layers_asked_for_decay():
    params = {
        "conv1": {"kernel": 0, "bias": 0},
        "conv2": {"kernel": 0, "bias": 0},
        "bn2": {"scale": 0},
        "stage1": {"conv2": {"kernel": 0}},
    }
    kernels = decay_mask("kernels", params, "conv[2-5]")
    everything = decay_mask("all", params, "conv[2-5]")
    assert kernels == {
        "conv1": {"kernel": False, "bias": False},
        "conv2": {"kernel": True, "bias": False},
        "bn2": {"scale": False},
        "stage1": {"conv2": {"kernel": False}},
    }
    assert everything["conv2"] == {"kernel": True, "bias": True}
    assert everything["bn2"] == {"scale": True}  # it is named after conv2
    assert not any(jax.tree.leaves((everything["conv1"], everything["stage1"])))


def test_filters_are_scaled_back_to_their_largest_root_mean_square():
    random = np.random.default_rng(0)
    scale = np.array([0.01, 0.0999, 0.2, 3.0])
    kernel = random.normal(size=(3, 3, 5, 4))
    kernel *= scale / np.sqrt(np.mean(kernel**2, axis=(0, 1, 2)))
    params = {
        "conv": {"kernel": kernel, "bias": 2 * np.ones(4)},
        "frozen": {"kernel": kernel},
        "fc": {"kernel": random.normal(size=(4, 4))},
    }
    with jax.enable_x64(True):
        ours = jax.tree.map(jnp.asarray, params)
        optimizer = make_optimizer(OptimizerConfig(filter_rms=0.1, freeze="frozen"))
        updates, _ = optimizer.update(
            jax.tree.map(jnp.zeros_like, ours), optimizer.init(ours), ours, learning_rate=1.0
        )
        after = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
    rms = np.sqrt(np.mean(after["conv"]["kernel"] ** 2, axis=(0, 1, 2)))
    np.testing.assert_allclose(rms, np.minimum(scale, 0.1), rtol=1e-12)
    direction = after["conv"]["kernel"] / rms
    np.testing.assert_allclose(direction, kernel / scale, rtol=1e-9)
    for layer, name in (("conv", "bias"), ("frozen", "kernel"), ("fc", "kernel")):
        np.testing.assert_array_equal(after[layer][name], params[layer][name])


def test_polyaks_average_gives_every_state_after_its_epoch_the_same_weight():
    weight = averaging(OptimizerConfig(polyak=2), steps_per_epoch=3)
    average, states = -1.0, []
    for step, state in enumerate(np.random.default_rng(0).normal(size=12)):
        average += float(weight(jnp.int32(step))) * (state - average)
        states = [state] if step < 6 else [*states, state]
        expected = state if step < 6 else np.mean(states[1:])  # the first is that of step 6
        assert average == pytest.approx(expected, abs=1e-6)
    assert averaging(OptimizerConfig(), steps_per_epoch=3) is None
    assert averaging(OptimizerConfig(ema=0.9), steps_per_epoch=3)(0) == 1 - 0.9


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
        {"decay_layers": "conv["},
        {"filter_rms": 0.0},
        {"polyak": -1},
        {"polyak": 1, "ema": 0.9},
    ],
)
def test_what_cannot_work_is_one_sentence(wrong):
    with pytest.raises(UserError, match=f"optimizer.{next(iter(wrong))}="):
        OptimizerConfig(**wrong).check()


def test_a_pattern_of_decay_that_fits_no_layer_is_one_sentence():
    with pytest.raises(UserError, match=r"optimizer.decay_layers=fc.\* matches no layer"):
        OptimizerConfig(decay_layers="fc.*").check_layers(PARAMS)


@pytest.mark.parametrize("text", ["logits", "=2", "logits=", "logits=fast", "fc=-1", "fc=0"])
def test_a_multiplier_that_is_none_is_one_sentence(text):
    with pytest.raises(UserError, match=f"'{text}', which is not PATTERN=MULTIPLE"):
        OptimizerConfig(multipliers=("conv=1", text)).check()
