"""Every network beside VGG: exact counts, sizes, names, gradients, and all that JAX does to it."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import KEY, QUICKLY, apply, count, features, initialized, pictures, shapes

import jaxcnn
from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models.lenet import C3_TABLE, squash, targets

OTHERS = [name for name in jaxcnn.list_models() if not name.startswith("vgg")]

# Name, fields, image size, channels: trained parameters, values of statistics.
COUNTS = [
    ("mnist_cnn", {}, 28, 1, 123_222, 0),
    ("lenet5", {}, 32, 1, 61_706, 0),
    ("lenet5_1998", {}, 32, 1, 60_000, 0),
    ("alexnet", {}, 224, 3, 60_965_224, 0),
    ("alexnet", {"padding": 0}, 227, 3, 60_965_224, 0),
    ("alexnet_one_tower", {}, 227, 3, 62_378_344, 0),
    ("alexnet_one_tower", {"num_classes": 10}, 227, 3, 58_322_314, 0),
    ("alexnet_bn", {"num_classes": 10}, 227, 3, 58_327_818 - 2_752, 2_752),
    ("alexnet_bn", {"num_classes": 10}, 128, 3, 24_773_386 - 2_752, 2_752),
    ("alexnet_pool_bn", {"num_classes": 10}, 224, 3, 58_323_530, 1_216),
    ("alexnet_owt", {}, 224, 3, 61_100_840, 0),
    ("zfnet", {}, 224, 3, 62_357_608, 0),
    ("zfnet_large", {}, 224, 3, 107_627_624, 0),
    ("googlenet", {}, 224, 3, 13_378_280, 0),
    ("googlenet", {"auxiliary": False}, 224, 3, 6_998_552, 0),
    ("googlenet_plain_stem", {"num_classes": 2}, 224, 3, 5_971_442, 0),
    ("googlenet_plain_stem", {"num_classes": 10}, 224, 3, 5_979_642, 0),
    ("googlenet_plain_stem", {}, 224, 3, 6_994_392, 0),
    ("googlenet_bn", {}, 224, 3, 13_004_888, 15_072),
    ("googlenet_bn", {"auxiliary": False}, 224, 3, 6_624_904, 14_560),
    ("resnet18", {}, 224, 3, 11_689_512, 9_600),
    ("resnet18", {"shortcut": "A"}, 224, 3, 11_515_688, 7_808),
    ("resnet18", {"shortcut": "C"}, 224, 3, 12_043_816, 11_648),
    ("plain18", {}, 224, 3, 11_515_688, 7_808),
    ("resnet34", {}, 224, 3, 21_797_672, 17_024),
    ("resnet34", {"shortcut": "A"}, 224, 3, 21_623_848, 15_232),
    ("resnet34", {"shortcut": "C"}, 224, 3, 22_716_840, 22_784),
    ("plain34", {}, 224, 3, 21_623_848, 15_232),
    ("resnet50", {}, 224, 3, 25_557_032, 53_120),
    ("resnet101", {}, 224, 3, 44_549_160, 105_344),
    ("resnet152", {}, 224, 3, 60_192_808, 151_424),
    ("resnet50_v1_5", {}, 224, 3, 25_557_032, 53_120),
    ("resnet101_v1_5", {}, 224, 3, 44_549_160, 105_344),
    ("resnet152_v1_5", {}, 224, 3, 60_192_808, 151_424),
    ("resnet50_nobn", {}, 224, 3, 38_045_826, 0),
    ("resnet50_nobn", {"num_classes": 10}, 224, 3, 38_062_218, 0),
    ("resnet50_nobn", {"num_classes": 1000}, 224, 3, 40_090_728, 0),
    *(
        (f"{kind}{depth}", {}, 32, 3, parameters, 1_376 + 448 * (depth - 20) // 6)
        for kind in ("resnet", "plain")
        for depth, parameters in (
            (20, 269_722),
            (32, 464_154),
            (44, 658_586),
            (56, 853_018),
            (110, 1_727_962),
        )
    ),
]


def narrow(name, **fields):
    """The network of that name, thin and where it is deep also short."""
    family = {
        "alexnet": {"width": 24, "hidden": (16, 12)},
        "zfnet": {"width": 24, "hidden": (16, 12)},
        "googlenet": {"width": 16},
        "resnet": {"width": 4, "blocks": (1, 2, 1, 1)},
        "plain": {"width": 4, "blocks": (1, 2, 1, 1)},
    }
    small = next((v for k, v in family.items() if name.startswith(k)), {})
    if name == "resnet50_nobn":
        small = {"width": 4}
    elif name.removeprefix("resnet").removeprefix("plain") in ("20", "32", "44", "56", "110"):
        small = {"width": 4, "blocks": (1, 2, 1)}
    return jaxcnn.create_model(name, **({"num_classes": 5} | small | fields))


def size_of(name):
    """Height, width and channels of small images that a network takes."""
    if name in ("mnist_cnn", "lenet5", "lenet5_1998"):
        return 32, 32, 1
    return (67, 71, 3) if name.startswith(("alexnet", "zfnet")) else (35, 33, 3)


# Of the networks that are the same once they are short, one.
DISTINCT = sorted({narrow(name): name for name in reversed(OTHERS)}.values())
# Of the networks that take long to compile, and differ in what other networks have too, one.
ONE_OF_A_KIND = [
    pytest.param(name, marks=pytest.mark.full)
    if name in ("googlenet", "googlenet_bn", "resnet101_v1_5", "zfnet_large")
    else name
    for name in DISTINCT
]


@pytest.mark.parametrize(("name", "fields", "size", "channels", "parameters", "statistics"), COUNTS)
def test_counts_are_exact(name, fields, size, channels, parameters, statistics):
    variables = shapes(jaxcnn.create_model(name, **fields), size, channels)
    assert count(variables["params"]) == parameters
    assert count(variables.get("batch_stats", {})) == statistics
    assert set(variables) <= {"params", "batch_stats"}


def test_every_network_is_counted():
    assert {row[0] for row in COUNTS} == set(OTHERS)


LEAST = {
    "mnist_cnn": 20,
    "lenet5": 32,
    "lenet5_1998": 32,
    "alexnet": 63,
    "alexnet_one_tower": 67,
    "alexnet_bn": 67,
    "alexnet_pool_bn": 57,
    "alexnet_owt": 63,
    "zfnet": 63,
    "zfnet_large": 63,
    "googlenet": 31,
    "googlenet_plain_stem": 1,
    "googlenet_bn": 15,
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_least_size_works_and_one_less_is_refused(name):
    model, least = narrow(name), LEAST.get(name, 1)

    def logits(size, **arguments):
        return jax.eval_shape(
            lambda x: model.init_with_output({"params": KEY, "dropout": KEY}, x, **arguments)[0],
            jax.ShapeDtypeStruct((2, *size, 3), jnp.float32),
        )

    chex.assert_shape(logits((least, least + 1)), (2, 5))
    chex.assert_shape(logits((least + 6, least), train=True), (2, 5))
    if least > 1:
        with pytest.raises(UserError, match=f"give {least} x {least} at least"):
            logits((least - 1, 300))
    with pytest.raises(UserError, match="must have the shape"):
        jax.eval_shape(model.init, KEY, jnp.zeros((224, 224, 3)))


@pytest.mark.parametrize("name", [*DISTINCT, "vgg11"])
def test_no_classes_are_refused(name):
    model, size = jaxcnn.create_model(name, num_classes=0), size_of(name)
    with pytest.raises(UserError, match="'logits' must have 1 output or more, not 0"):
        jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((1, *size), jnp.float32))


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_every_parameter_has_a_gradient(name):
    model, images = narrow(name), pictures(4, *size_of(name))
    variables = initialized(model, images.shape)

    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            rngs={"dropout": KEY},
            mutable=["batch_stats", "aux_logits"],
        )
        heads = [logits, *jax.tree.leaves(updated.get("aux_logits", {}))]
        assert len(heads) == (3 if name in ("googlenet", "googlenet_bn") else 1)
        return -sum(jax.nn.log_softmax(head)[:, 0].mean() for head in heads)

    gradient = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(variables["params"])
    chex.assert_tree_all_finite(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_training_differs_where_something_is_random_or_counted(name):
    model, images = narrow(name), pictures(4, *size_of(name))
    variables = initialized(model, images.shape)
    evaluated = apply(model, variables, images)
    trained, _ = apply(
        model, variables, images, train=True, rngs={"dropout": KEY}, mutable="batch_stats"
    )
    chex.assert_tree_all_finite((evaluated, trained))
    same = model.dropout == 0 and "batch_stats" not in variables
    assert np.allclose(evaluated, trained, rtol=1e-3, atol=1e-6) == same


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_everything_that_jax_does_to_a_function_can_be_done(name):
    model, images = narrow(name), jax.ShapeDtypeStruct((3, *size_of(name)), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(KEY, x), images)

    def loss(params, images):
        logits = model.apply({**variables, "params": params}, images)
        assert logits.dtype == jnp.float32
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    def everything(params, batch_stats, images):
        nonlocal variables
        variables = {"params": params, "batch_stats": batch_stats}
        function = functools.partial(loss, images=images)
        one = jax.vmap(lambda image: jax.grad(loss)(params, image[None]))(images)
        return (
            jax.grad(jax.checkpoint(function))(params),
            jax.jvp(function, (params,), (params,)),
            jax.linearize(function, params)[1](params),
            jax.grad(loss, argnums=1)(params, images),
            one,
        )

    given = variables["params"], variables.get("batch_stats", {})
    remade, (value, along), linear, to_images, alone = jax.eval_shape(everything, *given, images)
    chex.assert_trees_all_equal_shapes_and_dtypes(remade, given[0])
    assert value.shape == along.shape == linear.shape == ()
    assert to_images.shape == images.shape
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == (3, *b.shape), alone, given[0]))

    half = narrow(name, dtype=jnp.bfloat16)
    found = jax.eval_shape(lambda v, x: half.apply(v, x), dict(variables), images)
    assert (found.shape, found.dtype) == ((3, 5), jnp.float32)


@pytest.mark.parametrize("name", ["alexnet", "lenet5_1998", "resnet18"])
def test_derivatives_agree(name):
    model, images = narrow(name), pictures(2, *size_of(name))
    variables = initialized(model, images.shape)
    params = variables["params"]

    def loss(params, images):
        return model.apply({**variables, "params": params}, images)[:, 0].sum()

    direction = jax.tree.map(lambda leaf: np.cos(leaf) * abs(leaf).mean(), params)

    @functools.partial(jax.jit, compiler_options=QUICKLY)
    def derivatives(params, direction, images):
        gradient = jax.grad(loss)(params, images)
        _, along = jax.jvp(lambda params: loss(params, images), (params,), (direction,))
        remade = jax.grad(jax.checkpoint(loss))(params, images)
        alone = jax.vmap(lambda image: jax.grad(loss)(params, image[None]))(images)
        return gradient, along, remade, jax.tree.map(lambda leaf: leaf.sum(0), alone)

    with jax.enable_x64(True):
        model = model.clone(dtype=jnp.float64)
        variables, params, direction, images = jax.tree.map(
            np.float64, (variables, params, direction, images)
        )
        gradient, along, remade, summed = derivatives(params, direction, images)
    slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient, direction)))
    np.testing.assert_allclose(along, slope, rtol=1e-9)
    chex.assert_trees_all_close(remade, gradient, rtol=1e-9, atol=1e-12)
    chex.assert_trees_all_close(summed, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "resnet50", "lenet5_1998"])
def test_bfloat16_is_near_float32(name):
    single, half = narrow(name, dropout=0.0), narrow(name, dropout=0.0, dtype=jnp.bfloat16)
    images = pictures(4, *size_of(name))
    variables = initialized(single, images.shape)
    expected = apply(single, variables, images)
    found = apply(half, variables, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.1 * float(np.std(expected)))
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "size", "rows"),
    [
        ("mnist_cnn", 28, {"conv1": 24, "conv2": 20, "pool2": 10, "conv3": 6, "pool3": 3}),
        ("lenet5", 32, {"c1": 28, "s2": 14, "c3": 10, "s4": 5, "c5": 1}),
        ("alexnet", 224, {"conv1": 55, "pool1": 27, "pool2": 13, "conv5": 13, "pool5": 6}),
        ("alexnet_one_tower", 227, {"conv1": 55, "pool1": 27, "pool2": 13, "pool5": 6}),
        ("alexnet_bn", 128, {"conv1": 30, "pool1": 14, "pool2": 6, "pool5": 2}),
        ("alexnet_pool_bn", 224, {"conv1": 56, "pool1": 27, "pool2": 13, "pool5": 6}),
        ("zfnet", 224, {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "pool5": 6}),
        *(
            (name, 224, {"conv1": 112, "pool1": 56, "pool2": 28, "pool3": 14, "pool4": 7})
            for name in ("googlenet", "googlenet_plain_stem", "googlenet_bn")
        ),
        ("resnet50", 224, {"conv1": 112, "pool1": 56, "stage1": 56, "stage2": 28, "stage4": 7}),
        ("resnet20", 32, {"conv1": 32, "stage1": 32, "stage2": 16, "stage3": 8}),
        ("resnet50_nobn", 224, {"pool1": 56, "stage1": 28, "stage3": 7, "stage4": 7}),
    ],
)
def test_the_maps_have_the_papers_sizes(name, size, rows):
    model, images = narrow(name), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    found = jax.eval_shape(lambda x: models.features(model, model.init(KEY, x), x, rows), images)
    assert {layer: maps.shape[1:3] for layer, maps in found.items()} == {
        layer: (n, n) for layer, n in rows.items()
    }


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("alexnet", ("norm1", "pool1", "norm2", "relu5", "fc6", "dropout6", "fc7", "logits")),
        ("alexnet_owt", ("pool5", "dropout6", "fc6", "relu6", "dropout7", "fc7")),
        ("alexnet_bn", ("relu3", "bn3", "relu4", "bn4", "relu5", "bn5", "pool5")),
        ("alexnet_pool_bn", ("pool1", "bn1", "conv2", "pool2", "bn2", "pool5", "bn5")),
        ("zfnet", ("relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2")),
        ("googlenet", ("inception_4a/conv3x3_reduce", "inception_4a", "aux_4a/fc1", "aux_4a")),
        ("googlenet_bn", ("inception_3a/conv5x5", "inception_3a/bn5x5", "inception_3a/relu5x5")),
        ("resnet50", ("stage1/block1/conv1", "stage1/block1/bn1", "stage1/block1/shortcut")),
        ("lenet5_1998", ("c1", "squash1", "s2", "squash2", "c3", "c5", "f6", "squash6")),
    ],
)
def test_layers_have_the_papers_names_in_their_order(name, layers):
    names = models.feature_names(narrow(name), (1, *size_of(name)))
    assert [layer for layer in names if layer in layers] == list(layers)


def test_caffenet_pools_before_it_normalises():
    names = models.feature_names(narrow("alexnet", norm_place="after_pool"))
    assert names.index("relu1") < names.index("pool1") < names.index("norm1")


def test_features_of_googlenet_in_training_are_those_of_its_auxiliary_heads():
    model, images = narrow("googlenet"), pictures(2, 64, 64, 3)
    variables = initialized(model, images.shape)
    found = features(model, variables, images, ("aux_4a", "aux_4d"), train=True, rngs=dropout())
    _, updated = apply(
        model, variables, images, train=True, rngs=dropout(), mutable=("aux_logits",)
    )
    found = {layer.removeprefix("aux_"): logits for layer, logits in found.items()}
    chex.assert_trees_all_close(found, updated["aux_logits"], rtol=1e-5)
    with pytest.raises(UserError, match="aux_4a"):
        models.features(model, variables, images, ("aux_4a",))


def dropout():
    return {"dropout": KEY}


def test_the_two_halves_of_alexnet_see_their_own_maps():
    """In the second, fourth and fifth convolution, as on the paper's two GPUs."""
    model, images = narrow("alexnet"), pictures(1, 71, 71, 3)
    variables = initialized(model, images.shape)
    before = features(model, variables, images, ("conv2", "conv3", "conv4", "conv5"))
    for layer, channels in (("conv1", 24), ("conv3", 96), ("conv4", 96)):
        kernel = np.array(variables["params"][layer]["kernel"])
        kernel[..., : channels // 2] *= 1.5  # the first half of this layer's maps
        changed = {**variables["params"], layer: {**variables["params"][layer], "kernel": kernel}}
        after = features(model, {"params": changed}, images, ("conv2", "conv3", "conv4", "conv5"))
        seen = {"conv1": "conv2", "conv3": "conv4", "conv4": "conv5"}[layer]
        differs = np.any(np.asarray(after[seen] != before[seen]), axis=(0, 1, 2))
        assert differs[: len(differs) // 2].all()
        # Through local response normalisation the last two maps of a half see the other's.
        assert not differs[len(differs) // 2 :].any() or layer == "conv1"
        if layer == "conv1":
            everything = np.any(np.asarray(after["conv3"] != before["conv3"]), axis=(0, 1, 2))
            assert everything.all()


@pytest.mark.parametrize(
    ("name", "size"),
    [("alexnet", 223), ("zfnet", 223), ("googlenet_bn", 207), ("resnet18", 193), ("resnet20", 29)],
)
def test_dense_is_the_network_on_every_window_of_the_last_map(name, size):
    model, images = narrow(name), pictures(1, size, size, 3)
    variables = initialized(model, images.shape)
    single = apply(model, variables, images, dense=True)
    chex.assert_shape(single, (1, 1, 1, 5))
    plain = apply(model, variables, images)
    np.testing.assert_allclose(single[:, 0, 0], plain, rtol=1e-4, atol=1e-5)
    larger = apply(model, variables, pictures(1, size + 64, size + 32, 3), dense=True)
    assert min(larger.shape[1:3]) > 1
    with pytest.raises(UserError, match=f"with dense=True: give {size} x {size} at least"):
        jax.eval_shape(
            lambda x: model.apply(variables, x, dense=True), jnp.zeros((1, size - 1, size, 3))
        )


def test_dense_without_a_window_is_refused():
    with pytest.raises(UserError, match="set pooled_size"):
        narrow("alexnet_bn").init(KEY, jnp.zeros((1, 99, 99, 3)), dense=True)


def test_the_stride_of_a_bottleneck_changes_no_shape_but_every_number():
    images = pictures(1, 35, 33, 3)
    first, third = narrow("resnet50"), narrow("resnet50_v1_5")
    variables = initialized(first, images.shape)
    chex.assert_trees_all_equal_shapes(variables, initialized(third, images.shape))
    assert not np.allclose(apply(first, variables, images), apply(third, variables, images))


def test_shortcuts_without_parameters_take_every_second_position():
    model, images = narrow("resnet18", shortcut="A"), pictures(1, 35, 33, 3)
    variables = initialized(model, images.shape)
    for layer in ("conv2", "bn2"):
        zeros = jax.tree.map(np.zeros_like, variables["params"]["stage3"]["block1"][layer])
        variables["params"]["stage3"]["block1"][layer] = zeros
    variables["batch_stats"]["stage3"]["block1"]["bn2"]["mean"][:] = 0
    found = features(model, variables, images, ("stage2", "stage3/block1"))
    np.testing.assert_array_equal(found["stage3/block1"][..., :8], found["stage2"][:, ::2, ::2])
    assert not found["stage3/block1"][..., 8:].any()


@pytest.mark.parametrize("field", [{"shortcut": "D"}, {"stride_in": "conv3"}])
def test_fields_of_a_resnet_that_cannot_be_are_refused(field):
    with pytest.raises(UserError, match=next(iter(field))):
        shapes(narrow("resnet50", **field))


def test_c3_sees_what_table_one_says():
    """Each of S2's maps goes to ten of C3's; 60 connections in all."""
    assert [len(row) for row in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert np.bincount(np.concatenate(C3_TABLE)).tolist() == [10] * 6
    model, images = models.LeNet5Original(), pictures(1, 32, 32, 1)
    variables = initialized(model, images.shape)
    assert variables["params"]["c3"]["kernel"].shape == (5, 5, 60)
    before = features(model, variables, images, ("c3",))["c3"]
    for seen in range(6):
        bias = np.array(variables["params"]["s2"]["bias"])
        bias[seen] += 1
        moved = {**variables["params"], "s2": {**variables["params"]["s2"], "bias": bias}}
        after = features(model, {"params": moved}, images, ("c3",))["c3"]
        differs = np.any(np.asarray(after != before), axis=(0, 1, 2))
        assert differs.tolist() == [seen in row for row in C3_TABLE]


def test_lenets_sub_sampling_sums_four_and_its_output_is_a_distance():
    model, images = models.LeNet5Original(num_classes=12), pictures(2, 32, 32, 1)
    variables = initialized(model, images.shape)
    found = features(model, variables, images, ("squash1", "s2", "squash6", "logits"))
    s2 = variables["params"]["s2"]
    summed = np.asarray(found["squash1"]).reshape(2, 14, 2, 14, 2, 6).sum((2, 4))
    np.testing.assert_allclose(found["s2"], summed * s2["scale"] + s2["bias"], rtol=1e-4, atol=1e-5)
    distances = ((np.asarray(found["squash6"])[:, None] - targets(12)) ** 2).sum(-1)
    np.testing.assert_allclose(found["logits"], -distances, rtol=1e-4)
    np.testing.assert_allclose(squash(jnp.array([-1.0, 1.0])), [-1, 1], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "function", "pairs"),
    [
        ("lenet5", np.tanh, {"c1": "tanh1", "c3": "tanh3", "c5": "tanh5", "f6": "tanh6"}),
        ("mnist_cnn", lambda x: np.maximum(x, 0), {"conv1": "relu1", "conv3": "relu3"}),
    ],
)
def test_the_first_networks_bend_by_their_own_functions(name, function, pairs):
    model, images = narrow(name), pictures(2, 32, 32, 1)
    variables = initialized(model, images.shape)
    found = features(model, variables, images, (*pairs.keys(), *pairs.values()))
    for before, after in pairs.items():
        np.testing.assert_allclose(found[after], function(found[before]), atol=1e-6, err_msg=after)


def test_the_targets_of_the_digits_are_far_from_one_another():
    centres = targets(96)
    assert centres.shape == (96, 84)
    assert set(np.unique(centres)) == {-1.0, 1.0}
    differ = (centres[:, None] != centres[None]).sum(-1)
    assert differ[~np.eye(96, dtype=bool)].min() >= 6
    assert (targets(10) == centres[:10]).all()


def test_alexnets_biases_begin_at_one_where_the_paper_says():
    init = jax.jit(narrow("alexnet").init, compiler_options=QUICKLY)
    params = init(KEY, pictures(1, 71, 71, 3))["params"]
    ones = {layer for layer, values in params.items() if (np.asarray(values["bias"]) == 1).all()}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert not params["conv1"]["bias"].any()
    assert not params["logits"]["bias"].any()


# Of the papers and, where they say nothing, of the source: dropout (then that of the auxiliary
# heads), the initialisation, BatchNorm's epsilon and the weight of its old statistics.
CONSTANTS = {
    "alexnet": (0.5, "alexnet", None),
    "alexnet_one_tower": (0.0, "glorot", None),
    "alexnet_(pool_)?bn": (0.5, "glorot", (1e-3, 0.99)),
    "alexnet_owt": (0.5, "glorot", None),
    "zfnet(_large)?": (0.5, "zfnet", None),
    "vgg.._bn|vgg16_1x1_bn": (0.5, "glorot", (1e-5, 0.9)),
    "vgg16_average|vgg_small": (0.0, "glorot", None),
    "vgg..|vgg16_1x1|vgg11_lrn": (0.5, "glorot", None),
    "googlenet": ((0.4, 0.7), "googlenet", None),
    "googlenet_plain_stem": ((0.4, 0.7), "he", None),
    "googlenet_bn": ((0.2, 0.7), "he", (1e-3, 0.9)),
    "resnet50_nobn": (0.0, "he", None),
    "(resnet|plain).*": (0.0, "he", (1e-5, 0.9)),
    "lenet5_1998": (0.0, None, None),
    "lenet5|mnist_cnn": (0.0, "glorot", None),
}


@pytest.mark.parametrize("name", jaxcnn.list_models())
def test_the_constants_that_no_output_in_evaluation_shows(name):
    model = jaxcnn.create_model(name)
    dropout, drawn, norm = next(
        c for pattern, c in CONSTANTS.items() if re.fullmatch(pattern, name)
    )
    rates = (model.dropout, model.auxiliary_dropout) if "googlenet" in name else model.dropout
    assert (rates, getattr(model, "initialization", None)) == (dropout, drawn)
    layer = model.norm() if getattr(model, "norm", None) else None
    assert (layer and (layer.epsilon, layer.momentum)) == norm
