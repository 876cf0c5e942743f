"""VGG: exact counts, names, sizes, forms, types and everything that JAX does to a function."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import KEY, QUICKLY, apply, count, features, initialized, pictures, shapes

import jaxcnn
from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models.layers import BatchNorm

PARAMETERS = {  # at 1000 and at 10 classes
    "vgg11": (132_863_336, 128_807_306),
    "vgg11_lrn": (132_863_336, 128_807_306),
    "vgg13": (133_047_848, 128_991_818),
    "vgg16_1x1": (133_638_952, 129_582_922),
    "vgg16": (138_357_544, 134_301_514),
    "vgg19": (143_667_240, 139_611_210),
    "vgg11_bn": (132_868_840, 128_812_810),
    "vgg13_bn": (133_053_736, 128_997_706),
    "vgg16_1x1_bn": (133_647_400, 129_591_370),
    "vgg16_bn": (138_365_992, 134_309_962),
    "vgg19_bn": (143_678_248, 139_622_218),
    "vgg16_average": (15_227_688, 14_719_818),
    "vgg_small": (1_571_104, 1_550_314),
}

# Two poolings in place of five, so that little has to be compiled: the least image is 4 x 4.
tiny = functools.partial(
    models.VGG,
    groups=((64, (3, 3)), (128, (3, 1))),
    num_classes=5,
    width=4,
    hidden=(12, 8),
    pooled_size=2,
)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_exact(name):
    for classes, parameters in zip((1000, 10), PARAMETERS[name], strict=True):
        assert count(shapes(jaxcnn.create_model(name, num_classes=classes))["params"]) == parameters


def test_counts_that_belong_to_one_variant():
    assert sorted(PARAMETERS) == jaxcnn.list_models("vgg*")
    assert count(shapes(models.VGGSmall())["params"]) == 1_550_146
    assert len(jax.tree.leaves(shapes(models.VGG16Average(num_classes=10)))) == 28
    statistics = {"vgg11_bn": 5504, "vgg13_bn": 5888, "vgg16_bn": 8448, "vgg19_bn": 11008}
    for name, values in statistics.items():
        assert count(shapes(jaxcnn.create_model(name))["batch_stats"]) == values


def test_parameters_have_the_papers_names_and_flaxs_shapes():
    variables = shapes(models.VGG16CBN())
    assert set(variables) == {"params", "batch_stats"}
    params = variables["params"]
    convolutions = ["1_1", "1_2", "2_1", "2_2", *(f"{i}_{j}" for i in (3, 4, 5) for j in (1, 2, 3))]
    expected = [f"{kind}{i}" for i in convolutions for kind in ("conv", "bn")]
    assert sorted(params) == sorted([*expected, "fc6", "fc7", "logits"])
    assert jax.tree.map(jnp.shape, params["conv4_3"]) == {
        "kernel": (1, 1, 512, 512),
        "bias": (512,),
    }
    assert params["fc6"]["kernel"].shape == (25088, 4096)
    # At every size of image and number of channels; and nothing but parameters is left by `init`.
    smaller = shapes(models.VGG16(), 32, 1)
    assert set(smaller) == {"params"}
    assert smaller["params"]["fc6"]["kernel"].shape == (25088, 4096)


def test_local_response_norm_follows_the_first_activation_alone():
    plain, normalised = models.VGG11(), models.VGG11LRN()
    assert set(models.feature_names(normalised)) - set(models.feature_names(plain)) == {"norm1"}
    model = tiny(lrn=True)
    variables, images = initialized(model), 20 * pictures(2, 8, 8, 3)
    found = features(model, variables, images, ("relu1_1", "norm1", "logits"))
    assert float(jnp.max(found["norm1"] * 2**0.75 / (found["relu1_1"] + 1e-6))) <= 1
    assert not np.allclose(apply(tiny(), variables, images), found["logits"], rtol=1e-2)


@pytest.mark.parametrize("size", [(4, 4), (5, 13), (8, 12)])
def test_every_size_from_the_least_gives_one_row_of_logits(size):
    logits = apply(tiny(), initialized(tiny()), pictures(2, *size, 3))
    chex.assert_shape(logits, (2, 5))
    chex.assert_tree_all_finite(logits)


@pytest.mark.parametrize(
    ("shape", "dense", "message"),
    [
        ((1, 31, 64, 3), False, "31 x 64 are too small for this VGG: give 32 x 32 at least"),
        ((1, 300, 223, 3), True, "small for this VGG with dense=True: give 224 x 224 at least"),
        ((32, 32, 3), False, r"\(batch, height, width, channels\), not \(32, 32, 3\)"),
    ],
)
def test_images_that_cannot_be_taken_are_refused(shape, dense, message):
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda x: models.VGG16().init(KEY, x, dense=dense), pictures(*shape))


def test_fields_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="no initialization 'hee'; did you mean 'he'"):
        shapes(tiny(initialization="hee"))
    with pytest.raises(UserError, match="dropout must be"):
        shapes(tiny(dropout=1.0))


@pytest.mark.parametrize("fields", [{}, {"global_average": True, "hidden": ()}])
def test_dense_is_the_network_on_every_window_of_the_last_map(fields):
    model = tiny(pooled_size=3, **fields)
    variables, images = initialized(model), pictures(2, 12, 12, 3)
    dense = jax.eval_shape(lambda: model.init(KEY, images, dense=True))
    chex.assert_trees_all_equal_shapes_and_dtypes(dense, variables)
    single = apply(model, variables, images, dense=True)
    chex.assert_shape(single, (2, 1, 1, 5))
    chex.assert_trees_all_close(single[:, 0, 0], apply(model, variables, images), rtol=1e-4)

    found = features(model, variables, pictures(1, 17, 22, 3), ("pool2", "logits"), dense=True)
    chex.assert_shape(found["logits"], (1, 2, 3, 5))
    for i in range(2):
        for j in range(3):
            x = np.asarray(found["pool2"])[:, i : i + 3, j : j + 3]
            x = x.mean((1, 2)) if model.global_average else x.reshape(1, -1)
            for layer in ("fc3", "fc4", "logits"):
                if layer in variables["params"]:
                    weights = variables["params"][layer]
                    x = x @ weights["kernel"] + weights["bias"]
                    x = x if layer == "logits" else np.maximum(x, 0)
            chex.assert_trees_all_close(found["logits"][:, i, j], x, rtol=1e-4, atol=1e-5)


def test_dense_at_the_papers_size_is_the_plain_network():
    model = models.VGG11(width=1, hidden=(6, 4), num_classes=3)
    variables, images = initialized(model), pictures(1, 224, 224, 3)
    scores = apply(model, variables, images, dense=True)
    chex.assert_trees_all_close(scores[:, 0, 0], apply(model, variables, images), rtol=1e-4)


def test_the_average_form_averages_the_whole_map_and_is_leaky():
    model = models.VGG16Average(num_classes=5, width=2)
    variables, images = initialized(model), pictures(1, 96, 64, 3)
    found = features(model, variables, images, ("conv1_1", "relu1_1", "pool5", "logits"))
    chex.assert_trees_all_close(
        found["relu1_1"], jnp.where(found["conv1_1"] < 0, 0.2, 1) * found["conv1_1"]
    )
    logits = variables["params"]["logits"]
    expected = found["pool5"].mean((1, 2)) @ logits["kernel"] + logits["bias"]
    chex.assert_trees_all_close(found["logits"], expected, rtol=1e-5)
    assert not any("dropout" in name or "fc" in name for name in models.feature_names(model))


@pytest.mark.parametrize("norm", [None, BatchNorm])
def test_logits_are_in_float32_at_least(norm):
    single, half = tiny(norm=norm), tiny(norm=norm, dtype=jnp.bfloat16)
    variables, images = initialized(single), pictures(8, 8, 8, 3)
    chex.assert_trees_all_equal_dtypes(shapes(half), variables)
    expected = apply(single, variables, images)
    found = features(half, variables, images, ("relu4", "logits"))
    assert found["relu4"].dtype == jnp.bfloat16
    assert found["logits"].dtype == apply(half, variables, images).dtype == jnp.float32
    chex.assert_trees_all_close(found["logits"], expected, atol=0.1 * float(expected.std()))

    with jax.enable_x64(True):
        double = tiny(norm=norm, dtype=jnp.float64)
        variables = initialized(double)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float64")}
        logits = apply(double, variables, images.astype(np.float64))
    assert logits.dtype == np.float64
    chex.assert_trees_all_close(expected, np.float32(logits), rtol=1e-3, atol=1e-4)


def test_training_updates_the_statistics_and_evaluation_reads_them():
    model = tiny(norm=BatchNorm, dropout=0.0)
    variables, images = initialized(model), 1 + pictures(4, 8, 8, 3)
    _, updates = apply(model, variables, images, train=True, mutable="batch_stats")
    mean = features(model, variables, images, ("conv1_1",))["conv1_1"].mean((0, 1, 2))
    chex.assert_trees_all_close(
        updates["batch_stats"]["bn1_1"]["mean"],
        0.9 * variables["batch_stats"]["bn1_1"]["mean"] + 0.1 * mean,
        rtol=1e-4,
    )
    before = apply(model, variables, images)
    assert not np.allclose(before, apply(model, {**variables, **updates}, images), rtol=1e-2)


@pytest.mark.parametrize("name", ["vgg11_lrn", "vgg16_1x1_bn", "vgg16_average", "vgg_small"])
def test_every_parameter_has_a_gradient(name):
    hidden = () if name == "vgg16_average" else (16, 12)
    model = jaxcnn.create_model(name, num_classes=5, width=8, hidden=hidden)
    variables, images = initialized(model), pictures(4, 32, 32, 3)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            rngs={"dropout": KEY},
            mutable=["batch_stats"],
        )
        return -jax.nn.log_softmax(logits)[:, 0].mean()

    gradient = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(variables["params"])
    chex.assert_tree_all_finite(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf), jax.tree_util.keystr(path)


def test_everything_that_jax_does_to_a_function():
    model = tiny(lrn=True)
    params, images = initialized(model)["params"], pictures(3, 10, 8, 3)

    def loss(params, images):
        return -jax.nn.log_softmax(model.apply({"params": params}, images))[:, 0].mean()

    gradient = jax.jit(jax.grad(loss))(params, images)
    direction = jax.tree.map(np.cos, params)
    slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))

    @jax.jit
    def forward(params, direction):
        _, along = jax.jvp(lambda params: loss(params, images), (params,), (direction,))
        linear = jax.linearize(lambda params: loss(params, images), params)[1]
        return along, linear(direction)

    chex.assert_trees_all_close(forward(params, direction), (slope, slope), rtol=1e-3)
    remade = jax.jit(jax.grad(jax.checkpoint(loss)))(params, images)
    chex.assert_trees_all_close(remade, gradient, rtol=1e-4, atol=1e-6)
    alone = jax.vmap(lambda image: jax.grad(loss)(params, image[None]))
    means = jax.tree.map(lambda leaf: leaf.mean(0), jax.jit(alone)(images))
    chex.assert_trees_all_close(means, gradient, rtol=1e-3, atol=1e-5)


def test_pmap_computes_what_jit_computes_dropout_and_batch_norm_included():
    model, mapped = tiny(norm=BatchNorm), tiny(norm=BatchNorm, axis_name="batch")
    variables, images = initialized(model), pictures(16, 8, 8, 3)
    arguments = {"train": True, "rngs": {"dropout": KEY}, "mutable": "batch_stats"}
    logits, updates = apply(model, variables, images, **arguments)
    shared = jax.pmap(lambda x: mapped.apply(variables, x, **arguments), axis_name="batch")
    shares, copies = shared(images.reshape(8, 2, 8, 8, 3))
    chex.assert_trees_all_close(shares.reshape(16, 5), logits, rtol=1e-4, atol=1e-5)
    first = jax.tree.map(lambda leaf: leaf[0], copies)
    chex.assert_trees_all_close(first, updates, rtol=1e-4, atol=1e-6)
    # Initialisation needs no axis.
    created = jax.eval_shape(lambda: mapped.init(KEY, images, train=True))
    chex.assert_trees_all_equal_shapes_and_dtypes(created, variables)


def test_dropout_follows_the_activations_of_the_hidden_layers():
    model = tiny(hidden=(200, 100))
    names = ("relu3", "dropout3", "relu4", "dropout4")
    found = features(
        model, initialized(model), pictures(4, 8, 8, 3), names, train=True, rngs={"dropout": KEY}
    )
    for i in (3, 4):
        kept, alive = found[f"dropout{i}"] != 0, found[f"relu{i}"] > 0
        chex.assert_trees_all_close(found[f"dropout{i}"], jnp.where(kept, 2 * found[f"relu{i}"], 0))
        assert 0.35 < float(kept.sum() / alive.sum()) < 0.65
    assert "dropout3" not in models.feature_names(tiny(dropout=0.0))


def test_the_named_initialization_reaches_both_kinds_of_layer():
    model = tiny(groups=((64, (3,)),), width=64, hidden=(48,), initialization="he_fan_out")
    params = jax.jit(model.init)(KEY, pictures(1, 4, 4, 3))["params"]
    assert np.std(params["conv1_1"]["kernel"]) == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.05)
    assert np.std(params["fc2"]["kernel"]) == pytest.approx(0.01, rel=0.05)
    assert not any(layer["bias"].any() for layer in params.values())
