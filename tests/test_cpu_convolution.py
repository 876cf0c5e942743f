"""Convolutions by products against those of XLA: values, derivatives of both modes, and layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.network import ModelConfig, on_devices
from experiments.plain_training import batch_shapes, plain_training
from jaxcnn import models
from jaxcnn.models import cpu_convolution
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.traffic import exchanged_bytes

LAYOUT = ("NHWC", "HWIO", "NHWC")

# Side, channels, features, window, stride, padding, groups: as products, of fewer channels than
# features and of more, strided and grouped; and left to XLA.
CASES = [
    (45, 64, 8, 3, 1, 1, 1),
    (16, 64, 8, 3, 1, 1, 1),
    (31, 64, 8, 3, 2, 1, 1),
    (15, 64, 8, 5, 1, 2, 1),
    (15, 128, 8, 3, 1, "SAME", 2),
    (20, 64, 8, (1, 3), (1, 2), ((0, 0), (2, 1)), 1),
    (14, 6, 8, 1, 1, 0, 1),
    (14, 8, 6, 1, 1, 0, 1),
    (15, 6, 8, 1, 2, 0, 1),
    (15, 16, 8, 1, 2, "VALID", 2),
    (15, 6, 8, 1, 1, 1, 1),
    (9, 64, 8, 3, 1, 1, 1),
    (14, 4, 8, 3, 1, "VALID", 2),
]


def arguments(case, dtype):
    side, channels, features, window, stride, padding, groups = case
    window = (window, window) if isinstance(window, int) else window
    strides = (stride, stride) if isinstance(stride, int) else stride
    padding = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    random = np.random.default_rng(0)
    x = random.normal(size=(4, side, side, channels)).astype(dtype)
    kernel = random.normal(size=(*window, channels // groups, features)).astype(dtype)
    fields = {"dimension_numbers": LAYOUT, "feature_group_count": groups}
    return jnp.asarray(x), jnp.asarray(kernel), strides, padding, fields


def both(case, dtype):
    """The same convolution in the two forms, of images and a kernel, and these."""
    x, kernel, strides, padding, fields = arguments(case, dtype)

    def form(convolve):
        return lambda x, kernel: convolve(x, kernel, strides, padding, **fields)

    return form(cpu_convolution.conv_general_dilated), form(lax.conv_general_dilated), x, kernel


def assert_close(ours, theirs, tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max()),
        ours,
        theirs,
    )


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_xla(case):
    with jax.enable_x64(True):
        ours, theirs, x, kernel = both(case, np.float64)
        weights = jnp.cos(jnp.arange(theirs(x, kernel).size)).reshape(theirs(x, kernel).shape)

        def results(form):
            loss = lambda x, kernel: jnp.sum(weights * jnp.tanh(form(x, kernel) / 10))  # noqa: E731
            return form(x, kernel), jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

        assert_close(results(ours), results(theirs), 1e-12)


@pytest.mark.parametrize("room", [1, 3 * 16 * 16 * 9 * 64 * 4])
def test_many_images_are_convolved_a_few_at_a_time(monkeypatch, room):
    """All at once, XLA would ask for more memory than there is, and the process would end."""
    monkeypatch.setattr(cpu_convolution, "_ROOM", room)
    ours, theirs, x, kernel = both(CASES[1], np.float32)
    counts = [1] * 4 if room == 1 else [3, 1]
    traced = jax.make_jaxpr(ours)(x, kernel)
    convolved = [e for e in traced.eqns if e.primitive.name == "conv_general_dilated"]
    assert [e.invars[0].aval.shape[0] for e in convolved] == counts

    def results(form):
        loss = lambda x, k: jnp.sum(jnp.sin(form(x, k)))  # noqa: E731
        return form(x, kernel), jax.grad(loss, argnums=(0, 1))(x, kernel)

    assert_close(results(ours), results(theirs), 1e-5)


@pytest.mark.parametrize("case", [CASES[0], CASES[3]])
def test_in_float32_it_differs_by_rounding_alone(case):
    ours, theirs, x, kernel = both(case, np.float32)
    gradient = lambda form: jax.grad(lambda k: jnp.sum(jnp.sin(form(x, k))))(kernel)  # noqa: E731
    assert_close((ours(x, kernel), gradient(ours)), (theirs(x, kernel), gradient(theirs)), 1e-5)


def test_both_modes_and_second_derivatives():
    with jax.enable_x64(True):
        ours, theirs, x, kernel = both((15, 64, 4, 3, 1, 1, 1), np.float64)
        tangents = (jnp.sin(x), jnp.cos(kernel))

        def results(form):
            gradient = jax.grad(lambda x, k: jnp.sum(jnp.tanh(form(x, k) / 10)), argnums=(0, 1))
            forward = jax.jvp(form, (x, kernel), tangents)
            over = jax.jvp(gradient, (x, kernel), tangents)  # the Hessian times a vector
            product = lambda x, k: jax.tree.reduce(  # noqa: E731
                jnp.add, jax.tree.map(lambda a, b: jnp.sum(a * b), gradient(x, k), tangents)
            )
            return forward, over, jax.grad(product, argnums=(0, 1))(x, kernel)

        assert_close(results(ours), results(theirs), 1e-11)


def test_it_can_be_mapped_over_examples_and_kernels():
    ours, theirs, x, kernel = both(CASES[1], np.float32)

    def of_each(form):
        one = lambda k, x: jnp.sum(jnp.sin(form(x[None], k)))  # noqa: E731
        kernels = jnp.stack([kernel, -kernel])
        return (
            jax.vmap(jax.grad(one), in_axes=(None, 0))(kernel, x),
            jax.vmap(jax.grad(one), in_axes=(0, None))(kernels, x[0]),
        )

    assert_close(of_each(ours), of_each(theirs), 1e-5)


@pytest.mark.parametrize(
    "odd",
    [
        {"lhs_dilation": (2, 2)},
        {"rhs_dilation": (2, 2)},
        {"dimension_numbers": ("NHWC", "HWOI", "NHWC")},
        {"dtype": jnp.bfloat16},
    ],
)
def test_what_it_does_not_know_is_left_to_xla(odd):
    x, kernel, strides, padding, fields = arguments((8, 8, 8, 3, 1, 1, 1), np.float32)
    dtype = odd.pop("dtype", jnp.float32)
    x, kernel, fields = x.astype(dtype), kernel.astype(dtype), fields | odd
    np.testing.assert_array_equal(
        cpu_convolution.conv_general_dilated(x, kernel, strides, padding, **fields),
        lax.conv_general_dilated(x, kernel, strides, padding, **fields),
    )


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "googlenet_bn", "lenet5", "lenet5_1998", "mnist_cnn"),
        *("plain20", "resnet50", "resnet50_nobn", "vgg16", "zfnet"),
    ],
)
def test_every_network_takes_it(name):
    """The convolutions of all networks go through the field, whichever function is there."""
    seen = []

    def watched(lhs, rhs, *args, **kwargs):
        seen.append(rhs.shape)
        return cpu_convolution.conv_general_dilated(lhs, rhs, *args, **kwargs)

    model = models.create_model(name, conv_general_dilated=watched)
    channels = 1 if name.startswith(("lenet", "mnist")) else 3
    image = jnp.zeros((1, 224, 224, channels)) if channels == 3 else jnp.zeros((1, 32, 32, 1))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    kernels = [v.shape for v in jax.tree.leaves(variables["params"]) if len(v.shape) == 4]
    assert len(kernels) > 1
    assert sorted(set(seen)) == sorted(set(kernels))


def test_a_configuration_chooses_it_by_platform_or_by_name():
    layout = make_layout(ParallelConfig(devices=1))
    model = models.create_model("lenet5")
    assert on_devices(model, layout).conv_general_dilated is cpu_convolution.conv_general_dilated
    assert on_devices(model, layout, "xla").conv_general_dilated is None
    assert ModelConfig().convolution == "auto"


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_train_as_one_and_exchange_the_gradients_alone(mode):
    def step_of(devices, mode, convolution):
        layout = make_layout(ParallelConfig(devices=devices, mode=mode))
        model = models.create_model("vgg16", num_classes=4, groups=((64, (3, 3)),), hidden=(8,))
        model = on_devices(model.clone(pooled_size=1, dropout=0.0), layout, convolution)
        create, step = plain_training(model, 16)
        state = layout.distribute(create())
        random = np.random.default_rng(0)
        batch = {
            k: random.integers(0, 4, v.shape).astype(v.dtype)
            for k, v in batch_shapes(16, 16).items()
        }
        placed = layout.place(batch | {"weight": np.ones(16, np.float32)})
        executable = layout.compile(step).lower(state, placed).compile()
        # Momentum after one step is the gradients, whatever the rate.
        momentum = layout.fetch(executable(state, placed)[0].opt_state)
        return momentum, exchanged_bytes(executable.as_text())

    expected, _ = step_of(1, "jit", "xla")
    ours, exchanged = step_of(8, mode, "products")
    _, before = step_of(8, mode, "xla")
    kernels = [x for x in jax.tree.leaves(expected) if np.ndim(x) > 1]
    assert len(kernels) >= 4
    assert min(np.abs(x).max() for x in kernels) > 0
    assert_close(ours, expected, 1e-5)
    assert sum(exchanged.values()) <= 1.01 * sum(before.values())


def test_a_sharded_batch_is_the_whole_one():
    ours, _, x, kernel = both(CASES[1], np.float32)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    gradient = jax.jit(jax.grad(lambda k, x: jnp.sum(jnp.sin(ours(x, k)))))
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    assert_close(gradient(kernel, sharded), gradient(kernel, x), 1e-6)
