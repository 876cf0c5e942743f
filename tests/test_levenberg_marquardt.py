"""Diagonal Levenberg-Marquardt against its formulas written out, in loops and by hand."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax

from jaxcnn.errors import UserError
from jaxcnn.losses import cross_entropy, maximum_a_posteriori
from jaxcnn.models import create_model
from jaxcnn.training.levenberg_marquardt import make_curvature, with_curvature
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.second_derivatives import second_derivatives

RANDOM = np.random.default_rng(0)
quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(*shape):
    return RANDOM.normal(size=shape)


def in_float64(function, *arguments):
    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, arguments)
        return jax.tree.map(np.asarray, jax.jit(function)(*arguments))


# The recursion.


def test_a_linear_layers_are_the_diagonal_of_the_gauss_newton_matrix():
    """Outputs with second derivatives of their own each, every weight used once: exact."""
    inputs, params = normal(4, 3), {"kernel": normal(3, 2), "bias": normal(2)}
    of_outputs = RANDOM.uniform(size=(4, 2))

    def network(params):
        return jnp.tanh(inputs @ params["kernel"] + params["bias"])

    def diagonal(params):
        jacobian = jax.jacobian(network)(params)
        return jax.tree.map(lambda j: jnp.einsum("no,no...->...", of_outputs, j**2), jacobian)

    found = in_float64(lambda p: second_derivatives(network, p, jnp.asarray(of_outputs)), params)
    chex.assert_trees_all_close(found, in_float64(diagonal, params), rtol=1e-12)


def test_two_layers_and_shared_weights_are_appendix_c_in_loops():
    """A convolution of one dimension, squashed, summed in pairs and weighted; then a full layer."""
    x, kernel, scale, full = normal(2, 7), normal(2), normal(1), normal(3, 2)
    of_outputs = RANDOM.uniform(size=(2, 2))

    def network(params):
        a = jnp.stack([x[:, i : i + 2] @ params["kernel"] for i in range(6)], axis=1)
        return (jnp.tanh(a).reshape(2, 3, 2).sum(axis=2) * params["scale"]) @ params["full"]

    expected = {"kernel": np.zeros(2), "scale": np.zeros(1), "full": np.zeros((3, 2))}
    for n in range(2):
        a = np.array([x[n, i] * kernel[0] + x[n, i + 1] * kernel[1] for i in range(6)])
        z = np.array([np.tanh(a[2 * j]) + np.tanh(a[2 * j + 1]) for j in range(3)])
        for j in range(3):
            by_s = sum(full[j, o] ** 2 * of_outputs[n, o] for o in range(2))
            for o in range(2):
                expected["full"][j, o] += (z[j] * scale[0]) ** 2 * of_outputs[n, o]
            expected["scale"][0] += z[j] ** 2 * by_s
            for i in (2 * j, 2 * j + 1):
                by_a = (1 - np.tanh(a[i]) ** 2) ** 2 * scale[0] ** 2 * by_s
                for k in range(2):
                    expected["kernel"][k] += x[n, i + k] ** 2 * by_a
    params = {"kernel": kernel, "scale": scale, "full": full}
    found = in_float64(lambda p: second_derivatives(network, p, jnp.asarray(of_outputs)), params)
    chex.assert_trees_all_close(found, expected, rtol=1e-12)


def test_a_two_dimensional_convolution_by_partial_table():
    """LeNet-5's own layers: a convolution whose kernel is scattered into a whole one."""
    images, kernel = normal(2, 4, 5, 2), normal(3, 2, 2)  # connections 0-0, 1-0, 1-1

    def network(params):
        whole = jnp.zeros((2, 2, 2, 2)).at[:, :, jnp.array([0, 1, 1]), jnp.array([0, 0, 1])]
        whole = whole.set(jnp.moveaxis(params["kernel"], 0, -1))
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(images, whole, (1, 1), "VALID", dimension_numbers=layout)

    of_outputs = RANDOM.uniform(size=(2, 3, 4, 2))
    expected = np.zeros_like(kernel)
    for connection, (i, o) in enumerate([(0, 0), (1, 0), (1, 1)]):
        for dy, dx in np.ndindex(2, 2):
            seen = images[:, dy : dy + 3, dx : dx + 4, i]
            expected[connection, dy, dx] = np.sum(seen**2 * of_outputs[..., o])
    found = in_float64(
        lambda p: second_derivatives(network, p, jnp.asarray(of_outputs)), {"kernel": kernel}
    )
    np.testing.assert_allclose(found["kernel"], expected, rtol=1e-12)


def test_what_is_inside_of_calls_and_what_is_taken_twice():
    x = jnp.array([-1.0, 0.0, 2.0])

    def network(w):
        inner = jax.jit(lambda a, b: jnp.sum(a * b) + jnp.zeros(1))
        return jnp.concatenate([nn.relu(w * x), w * w, inner(w, x), jnp.zeros(1)])

    found = second_derivatives(network, jnp.array([1.0, 1.0, 3.0]), jnp.ones(8))
    # The rectified, whose derivative at 0 is 0; (2 w)^2; x^2.
    np.testing.assert_allclose(found, [0 + 4 + 1, 0 + 4 + 0, 4 + 36 + 4])


def test_a_step_without_a_rule_is_one_sentence():
    with pytest.raises(UserError, match=r"knows no second derivatives of 'sort', .* take another"):
        second_derivatives(jnp.sort, jnp.ones(3), jnp.ones(3))


@pytest.mark.parametrize(("name", "size"), [("mnist_cnn", 28), ("vgg11_bn", 32), ("resnet18", 32)])
def test_other_networks_have_a_rule_for_every_step(name, size):
    model = create_model(name, num_classes=3, width=4)
    images = jnp.zeros((2, size, size, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def found(variables):
        rest = {k: v for k, v in variables.items() if k != "params"}
        network = lambda p: model.apply({"params": p, **rest}, images)  # noqa: E731
        return second_derivatives(network, variables["params"], jnp.ones((2, 3)))

    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(found, variables), variables["params"]
    )


# The curvature of a network's loss.


class Full(nn.Module):
    @nn.compact
    def __call__(self, images, *, train=False):
        return nn.Dense(3, name="logits")(images.reshape(images.shape[0], -1))


def batch_of(images, labels, weights):
    return {"image": images, "label": np.asarray(labels), "weight": np.asarray(weights, np.float32)}


def as_they_are(batch, step):
    return batch["image"], batch["label"]


def test_the_curvature_of_the_cross_entropy_by_hand():
    """The mean of p (1 - p) x^2 over the examples that count."""
    images = normal(4, 1, 2, 1).astype(np.float32)
    variables = Full().init(jax.random.key(0), images)
    measure = jax.jit(make_curvature(Full(), as_they_are, cross_entropy))
    found = measure(variables, batch_of(images, [0, 1, 2, 0], [1, 1, 0, 1]), 0)["logits"]
    p = np.asarray(jax.nn.softmax(Full().apply(variables, images)))
    counted = [0, 1, 3]
    spread = (p * (1 - p))[counted]
    np.testing.assert_allclose(found["bias"], spread.mean(axis=0), rtol=1e-5)
    x = images.reshape(4, 2)[counted]
    expected = np.einsum("ni,no->io", x**2, spread) / 3
    np.testing.assert_allclose(found["kernel"], expected, rtol=1e-5)


def test_radial_basis_functions_are_a_part_of_the_loss():
    """LeNet-5's last biases: f'(a)^2 times the second derivative by what the distances are of."""
    model = create_model("lenet5_1998", num_classes=10)
    images, labels = RANDOM.uniform(-0.1, 1.2, (3, 32, 32, 1)).astype(np.float32), [3, 1, 4]
    variables = quickly(model.init)(jax.random.key(0), images)
    measure = quickly(make_curvature(model, as_they_are, maximum_a_posteriori))
    found = measure(variables, batch_of(images, labels, [1, 1, 1]), 0)
    assert all(float(jnp.min(h)) >= 0 for h in jax.tree.leaves(found))
    assert jax.tree.structure(found) == jax.tree.structure(variables["params"])

    kept = lambda module, _: module.name in ("f6", "squash6")  # noqa: E731
    _, seen = model.apply(variables, images, capture_intermediates=kept, mutable="intermediates")
    a, x = (
        np.float64(seen["intermediates"][name]["__call__"][0]).reshape(3, 84)
        for name in ("f6", "squash6")
    )
    from jaxcnn.models.lenet import targets

    centres = targets(10)
    expected = np.zeros(84)
    for n in range(3):
        close = np.append(np.exp(-((x[n] - centres) ** 2).sum(axis=1)), np.exp(-0.1))
        p = close / close.sum()
        away = np.vstack([x[n] - centres, np.zeros(84)])
        mean = p @ away
        by_x = 2 * p[-1] + 4 * (p @ away**2 - mean**2)
        slope = 1.7159 * 2 / 3 / np.cosh(a[n] * 2 / 3) ** 2
        expected += slope**2 * by_x / 3
    np.testing.assert_allclose(found["f6"]["bias"], expected, rtol=1e-4)


# The optimizer.

PARAMS = {"c1": {"kernel": jnp.array([1.0, -2.0])}, "f6": {"kernel": jnp.array([0.5])}}
CURVATURE = {"c1": {"kernel": jnp.array([0.03, 0.48])}, "f6": {"kernel": jnp.array([9.98])}}


def test_an_update_by_hand():
    optimizer = make_optimizer(OptimizerConfig(name="levenberg_marquardt"))
    state = with_curvature(optimizer.init(PARAMS), CURVATURE)
    gradients = jax.tree.map(lambda p: jnp.full_like(p, 2.0), PARAMS)
    updates, after = optimizer.update(gradients, state, PARAMS, learning_rate=5e-4)
    expected = [-5e-4 * 2 / 0.05, -5e-4 * 2 / 0.5]
    np.testing.assert_allclose(updates["c1"]["kernel"], expected, rtol=1e-6)
    np.testing.assert_allclose(updates["f6"]["kernel"], [-5e-4 * 2 / 10], rtol=1e-6)
    chex.assert_trees_all_equal(after, state)


def test_frozen_layers_have_no_curvature():
    optimizer = make_optimizer(OptimizerConfig(name="levenberg_marquardt", freeze="c1"))
    state = with_curvature(optimizer.init(PARAMS), CURVATURE)
    kept = jax.tree.leaves(state)
    assert [float(h[0]) for h in kept if h.ndim] == [pytest.approx(9.98)]
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = optimizer.update(gradients, state, PARAMS, learning_rate=1.0)
    assert np.all(np.asarray(updates["c1"]["kernel"]) == 0)
    np.testing.assert_allclose(updates["f6"]["kernel"], [-0.1], rtol=1e-6)


def test_another_optimizers_state_is_left_alone():
    state = optax.adam(0.1).init(PARAMS)
    chex.assert_trees_all_equal(with_curvature(state, CURVATURE), state)


@pytest.mark.parametrize("field", ["damping", "curvature_examples"])
def test_what_cannot_work_is_one_sentence(field):
    with pytest.raises(UserError, match=f"optimizer.{field}=0"):
        OptimizerConfig(**{field: 0}).check()
