"""Receptive fields against what perturbed and differentiated networks respond to.

Weights are positive and biases zero, so that nothing cancels: an output changes if and only if
something that it depends on does.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import KEY, QUICKLY

from jaxcnn import create_model, models
from jaxcnn.inspection.summary import summarize


def positive(model, shape):
    """Variables, all positive but for biases and the means of BatchNorm."""
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("bias", "mean"):
            return np.zeros(leaf.shape, leaf.dtype)
        fan_in = math.prod(leaf.shape[:-1])
        return generator.uniform(0.5 / fan_in, 1.5 / fan_in, leaf.shape).astype(leaf.dtype)

    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda images: model.init(KEY, images), images)
    return jax.tree_util.tree_map_with_path(draw, variables)


def responses(model, shape):
    """Which rows of each layer respond to which rows of the image, (image's, layer's), by name.

    Each of a batch of images has one of its rows lit, the last has none. Every layer passes on
    only which of its outputs differ from those of the last.
    """
    height, width, channels = shape
    found = {}

    def interceptor(method, args, kwargs, context):
        output = method(*args, **kwargs)
        if context.method_name != "__call__" or not context.module.path:
            return output
        changed = output != output[-1:]
        axes = tuple(range(2, output.ndim)) if output.ndim > 2 else 1
        found["/".join(context.module.path)] = changed[:-1].any(axis=axes)
        return changed.astype(output.dtype)

    @jax.jit(compiler_options=QUICKLY)
    def look(variables):
        lit = jnp.eye(height + 1, height)[:, :, None, None]
        images = jnp.broadcast_to(lit, (height + 1, height, width, channels))
        with nn.intercept_methods(interceptor):
            model.apply(variables, images)
        return dict(found)

    return {n: np.asarray(r) for n, r in look(positive(model, (1, *shape))).items()}


def span(responding):
    """The first that responds and the one after the last."""
    (places,) = np.nonzero(responding)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else None


def check(model, shape, uneven=()):
    """Holds the rows' fields of every layer to what its units respond to."""
    height = shape[0]
    measured = responses(model, shape)
    layers = summarize(model, shape).layers
    assert {layer.name for layer in layers if layer.field is None} == set(uneven)
    for layer in layers:
        if layer.field is None or layer.name not in measured:
            assert layer.field is None or layer.training_only
            continue
        (size, _), (stride, _), (offset, _) = layer.field
        start = offset - (size - 1) / 2
        assert start == int(start)
        if measured[layer.name].ndim == 1:
            assert stride == 0
            assert span(measured[layer.name]) == (start, start + size), layer.name
            continue
        units = measured[layer.name].T
        for unit, responding in enumerate(units):
            first = int(start) + stride * unit
            expected = max(first, 0), min(first + size, height)
            assert span(responding) == expected, f"{layer.name}, unit {unit}"
        # The end of the first field and the beginning of the last are in the image: both the
        # size and the offset have been seen.
        if len(units) > 1:
            assert start + size <= height, layer.name
            assert start + stride * (len(units) - 1) >= 0, layer.name


# The rows that show where all fields begin and end, the columns that the network asks for, and what
# makes it narrow.
NARROW = {"width": 4, "hidden": (4,)}
QUICK = {
    "mnist_cnn": (28, 20, {"width": 2}),
    "lenet5": (32, 32, {}),
    "lenet5_1998": (32, 32, {}),
    "alexnet": (224, 63, {"width": 6, "hidden": (4,)}),
    "zfnet": (224, 63, NARROW),
    "vgg16_1x1": (160, 32, NARROW),
    "googlenet": (416, 31, {"width": 4}),
    "resnet18": (256, 1, {"width": 1}),
    "resnet20": (64, 1, {"width": 1}),
}
# Auxiliary classifiers average their maps to 4 rows, by windows of several sizes where they must.
UNEVEN = {
    name: [f"aux_{of}/{layer}1x1" for of in ("4a", "4d") for layer in layers]
    for name, layers in (("googlenet", ("conv", "relu")), ("googlenet_bn", ("conv", "bn", "relu")))
}
# What drops elements of a flattened map, each of which sees a part of the image of its own.
UNEVEN["alexnet_owt"] = ["dropout6"]


def others(name):
    """The same of a network that is measured when there is time."""
    if name.startswith("vgg"):
        return 160 if "19" not in name else 192, 32, {"width": 4, "hidden": (4,)}
    if name.startswith("alexnet"):
        # Rows that an odd stride leaves out are pixels where a field at the edge has padding.
        return 224 if name == "alexnet_owt" else 227, 67, {"width": 4, "hidden": (4,)}
    if name == "zfnet_large":
        return 224, 63, {"width": 6, "hidden": (4,)}
    if name.startswith("googlenet"):
        return 416, 32, {"width": 4}
    depth = int("".join(letter for letter in name.split("_")[0] if letter.isdigit()))
    if models.image_shape(name)[0] == 32:
        return 5 * depth // 2 + 8, 1, {"width": 1}
    return {34: 512, 101: 576, 152: 800}.get(depth, 320), 1, {"width": 1}


REST = sorted({*models.list_models()} - {*QUICK})


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.full) for name in REST)]
)
def test_fields_are_what_units_respond_to(name):
    height, width, fields = QUICK.get(name) or others(name)
    shape = height, width, models.image_shape(name)[2]
    check(create_model(name, **fields), shape, UNEVEN.get(name, ()))


def test_fields_of_bottlenecks():
    for stride_in in ("conv1", "conv2"):
        model = create_model("resnet50", width=1, blocks=(1, 2, 1), stride_in=stride_in)
        check(model, (96, 1, 3))


def linear_at_ties(method, args, kwargs, context):
    """A max pool by its derivative where all elements tie, which all of them have a share of."""
    if type(context.module).__name__ != "MaxPool" or context.method_name != "__call__":
        return method(*args, **kwargs)
    return jax.jvp(method, (jnp.zeros_like(args[0]),), args)[1]


@pytest.mark.parametrize(
    ("name", "layer", "shape", "unit"),
    [
        ("lenet5", "s4", (36, 40, 1), (2, 3)),
        ("alexnet", "conv3", (163, 179, 3), (3, 4)),
        ("vgg_small", "conv4_1", (80, 96, 3), (4, 5)),
        ("resnet20", "stage3/block1/relu2", (64, 72, 3), (7, 8)),
    ],
)
def test_fields_are_where_the_gradient_of_a_unit_is_not_zero(name, layer, shape, unit):
    """Along rows and columns, of a unit whose field is inside the image, and of its neighbours."""
    model = create_model(name, width=6)
    variables = positive(model, (1, *shape))

    @jax.jit(compiler_options=QUICKLY)
    def gradient(row, column):
        def output(image):
            with nn.intercept_methods(linear_at_ties):
                found = models.features(model, variables, image[None], (layer,))
            return found[layer][0, row, column].sum()

        return jax.grad(output)(jnp.ones(shape))

    (field,) = (of.field for of in summarize(model, shape).layers if of.name == layer)
    for row, column in (unit, (unit[0] + 1, unit[1]), (unit[0], unit[1] + 1)):
        seen = np.asarray(gradient(row, column) != 0).any(axis=-1)
        measured = span(seen.any(axis=1)), span(seen.any(axis=0))
        for axis, (place, (first, end)) in enumerate(zip((row, column), measured, strict=True)):
            assert end - first == field.size[axis]
            assert (first + end - 1) / 2 == field.offset[axis] + field.stride[axis] * place
            assert first > 0
            assert end < shape[axis]


class Lopsided(nn.Module):
    """Rows and columns that differ, in every way that a convolution and a pool can."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (3, 5), strides=(1, 2), padding=((2, 0), (1, 1)), name="conv")(x)
        x = nn.Conv(2, (2, 3), kernel_dilation=(3, 1), padding=0, name="dilated")(x)
        x = nn.max_pool(x, (3, 2), strides=(2, 1), padding=((1, 1), (0, 0)))
        x = nn.Conv(2, (1, 1), name="pooled")(x)
        x = nn.Conv(2, (3, 1), padding=((1, 1), (0, 0)), name="last")(x.transpose(0, 2, 1, 3))
        gate = nn.Dense(2, name="gate")(x.mean(axis=(1, 2)))
        return nn.Conv(2, (1, 1), name="gated")(x * gate[:, None, None])


def test_rows_and_columns_are_told_apart():
    fields = {layer.name: layer.field for layer in summarize(Lopsided(), (20, 24, 1)).layers}
    assert fields["conv"] == ((3, 5), (1, 2), (-1, 1))
    assert fields["dilated"] == ((6, 9), (1, 2), (0.5, 3))
    assert fields["pooled"] == ((8, 11), (2, 2), (0.5, 4))
    # Its rows are the image's columns.
    assert fields["last"] == ((8, 15), (2, 2), (0.5, 4))
    assert fields["gate"] == ((20, 24), (0, 0), (9.5, 11.5))
    assert fields["gated"] == fields["gate"]


@jax.custom_vjp
def with_a_gradient_of_its_own(x):
    return x + jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]


with_a_gradient_of_its_own.defvjp(
    lambda x: (with_a_gradient_of_its_own(x), None), lambda _, gradient: (gradient,)
)


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (nn.relu, ((3, 3), (1, 1), (0, 0))),
        (lambda x: jax.checkpoint(jnp.tanh)(x), ((3, 3), (1, 1), (0, 0))),
        (with_a_gradient_of_its_own, ((4, 3), (1, 1), (-0.5, 0))),
        (lambda x: nn.avg_pool(x, (2, 3), (2, 1)), ((4, 5), (2, 1), (0.5, 1))),
        (
            lambda x: jax.lax.reduce_window(
                x, 1.0, lambda a, b: a * jnp.sin(b), (1, 3, 1, 1), (1, 3, 1, 1), "VALID"
            ),
            ((5, 3), (3, 1), (1, 0)),
        ),
        (lambda x: jnp.concatenate([x[:, ::2], x[:, 1::2] ** 2], -1), ((4, 3), (2, 1), (0.5, 0))),
        (lambda x: jnp.stack([x, x[:, ::-1]]).max(0) * 0 + x, None),
        (lambda x: x.at[:, 2].add(x[:, 3]), None),
        (lambda x: x + jax.nn.softmax(x, axis=(1, 2)), ((12, 12), (0, 0), (5.5, 5.5))),
    ],
)
def test_fields_behind_an_operation(operation, field):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(1, (3, 3), name="before")(x)
            return nn.Conv(1, (1, 1), name="behind")(operation(x))

    layers = {layer.name: layer for layer in summarize(Network(), (12, 12, 1)).layers}
    assert layers["behind"].field == field


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x[:, ::-1],
        lambda x: jnp.cumsum(x, axis=1),
        lambda x: jnp.sort(x, axis=1),
        lambda x: jax.image.resize(x, (1, 24, 24, 1), "nearest"),
        lambda x: jnp.roll(x, 1, axis=1),
        lambda x: x.reshape(1, 3, 4, 12, 1).max(axis=2),
    ],
)
def test_no_field_is_said_of_what_is_not_followed(operation):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(1, (3, 3), name="before")(x)
            x = nn.Conv(1, (1, 1), name="behind")(operation(x))
            return nn.Dense(2, name="all")(x.reshape(1, -1))

    layers = {layer.name: layer for layer in summarize(Network(), (12, 12, 1)).layers}
    assert layers["before"].field == ((3, 3), (1, 1), (0, 0))
    assert layers["behind"].field is None
    assert layers["all"].field in (None, ((12, 12), (0, 0), (5.5, 5.5)))
