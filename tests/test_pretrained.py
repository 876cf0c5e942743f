"""Weights in and out: names, layouts, what is adapted, what is refused, what comes with them."""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import save_file

import jaxcnn
from jaxcnn.errors import UserError
from jaxcnn.models import create_model, features, list_models
from jaxcnn.models.layers import BatchNorm
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import (
    expected_keys,
    loading,
    save_weights,
    tensors_to_variables,
    variables_to_tensors,
)
from jaxcnn.pretrained.files import WeightFile
from jaxcnn.pretrained.mapping import NAMINGS
from jaxcnn.pretrained.naming import variable_shapes

KERAS_NORM = functools.partial(BatchNorm, epsilon=1.001e-5)
RGB = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB", 256, 224)
FC6, AUX_FC1 = ("params", "fc6", "kernel"), ("params", "aux_4a", "fc1", "kernel")
MNIST = ("lenet5", "lenet5_1998", "mnist_cnn")
BGR = Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR", 256, 224)


def narrow(name, **fields):
    """The network at a quarter of its width, with small hidden layers."""
    model = create_model(name)
    if width := getattr(model, "width", None) or getattr(model, "widths", (0,))[0]:
        fields.setdefault("width", width if name == "lenet5" else width // 4)
    if hidden := getattr(model, "hidden", None):
        fields.setdefault("hidden", (12, 10)[: len(hidden)])
    return create_model(name, **fields)


def fields_of(model):
    return {key: getattr(model, key) for key in ("width", "hidden") if hasattr(model, key)}


def random_variables(model, in_channels=3):
    rng = np.random.default_rng(1)
    return unflatten_dict(
        {
            path: (0.1 + rng.random(shape.shape)).astype(np.float32)
            for path, shape in variable_shapes(model, in_channels).items()
        }
    )


def random_tensors(model, naming, in_channels=3):
    rng = np.random.default_rng(2)
    shapes = expected_keys(model, naming, in_channels)
    return {key: (0.1 + rng.random(shape)).astype(np.float32) for key, shape in shapes.items()}


def shapes_alone(name, naming):
    """Tensors of a whole network that take no memory."""
    shapes = expected_keys(create_model(name), naming)
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def assert_same(variables, others):
    variables, others = flatten_dict(variables), flatten_dict(others)
    assert variables.keys() == others.keys()
    for path in variables:
        assert variables[path].dtype == others[path].dtype
        np.testing.assert_array_equal(variables[path], others[path], err_msg=str(path))


def load(monkeypatch, name, tensors, kind="torch", metadata=None, **arguments):
    """``load_pretrained`` of a file that holds this."""
    file = WeightFile(kind, tensors, metadata or {})
    monkeypatch.setattr(loading, "read_tensors", lambda path: file)
    return jaxcnn.load_pretrained(name, "weights.pth", **arguments)


def refusal(function, *arguments, **keywords):
    with pytest.raises(UserError) as error:
        function(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


# Names and layouts


@pytest.mark.parametrize(
    ("naming", "name"),
    [("timm", "vgg16_bn"), ("timm", "resnet18"), ("keras", "vgg19"), ("keras", "resnet50")],
)
def test_every_array_has_one_key(naming, name):
    model = narrow(name, **NAMINGS[naming].networks[name])
    keys = expected_keys(model, naming)
    ours = variable_shapes(model).keys()
    assert {entry.path for entry in NAMINGS[naming].entries(model)} == ours
    assert len(keys) == len(ours) + sum(key.endswith("_conv/bias") for key in keys)


# Keys that are in the published files, as torchvision 0.28, timm 1.0.31 and Keras 3 name them.
@pytest.mark.parametrize(
    ("naming", "name", "key", "shape"),
    [
        ("torchvision", "alexnet_owt", "features.10.weight", (256, 256, 3, 3)),
        ("torchvision", "alexnet_owt", "classifier.1.weight", (4096, 9216)),
        ("torchvision", "alexnet_owt", "classifier.6.bias", (1000,)),
        ("torchvision", "vgg11", "features.18.weight", (512, 512, 3, 3)),
        ("torchvision", "vgg16", "features.28.weight", (512, 512, 3, 3)),
        ("torchvision", "vgg16", "classifier.0.weight", (4096, 25088)),
        ("torchvision", "vgg16_bn", "features.40.bias", (512,)),
        ("torchvision", "vgg16_bn", "features.41.running_var", (512,)),
        ("torchvision", "vgg19", "features.34.weight", (512, 512, 3, 3)),
        ("torchvision", "vgg19_bn", "classifier.6.weight", (1000, 4096)),
        ("torchvision", "googlenet_bn", "conv2.conv.weight", (64, 64, 1, 1)),
        ("torchvision", "googlenet_bn", "conv3.conv.weight", (192, 64, 3, 3)),
        ("torchvision", "googlenet_bn", "inception4d.branch3.1.conv.weight", (64, 32, 3, 3)),
        ("torchvision", "googlenet_bn", "inception5b.branch4.1.bn.running_mean", (128,)),
        ("torchvision", "googlenet_bn", "aux1.conv.conv.weight", (128, 512, 1, 1)),
        ("torchvision", "googlenet_bn", "aux2.fc1.weight", (1024, 2048)),
        ("torchvision", "googlenet_bn", "aux2.fc2.weight", (1000, 1024)),
        ("torchvision", "resnet18", "layer2.0.downsample.1.running_mean", (128,)),
        ("torchvision", "resnet50_v1_5", "layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("torchvision", "resnet50_v1_5", "layer3.5.bn3.weight", (1024,)),
        ("torchvision", "resnet50_v1_5", "fc.weight", (1000, 2048)),
        ("timm", "vgg16_bn", "pre_logits.fc1.weight", (4096, 512, 7, 7)),
        ("timm", "vgg19", "pre_logits.fc2.weight", (4096, 4096, 1, 1)),
        ("timm", "vgg11", "head.fc.weight", (1000, 4096)),
        ("timm", "resnet34", "layer4.2.conv2.weight", (512, 512, 3, 3)),
        ("keras", "vgg16", "block5_conv3/kernel", (3, 3, 512, 512)),
        ("keras", "vgg19", "fc1/kernel", (25088, 4096)),
        ("keras", "resnet50", "conv1_conv/bias", (64,)),
        ("keras", "resnet50", "conv4_block6_3_bn/moving_variance", (1024,)),
        ("keras", "resnet50", "conv2_block1_0_conv/kernel", (1, 1, 64, 256)),
        ("keras", "resnet50", "predictions/kernel", (2048, 1000)),
    ],
)
def test_keys_are_the_libraries_own(naming, name, key, shape):
    model = create_model(name, **NAMINGS[naming].networks[name])
    assert expected_keys(model, naming)[key] == shape


def test_resnet18_has_a_shortcut_convolution_where_a_block_changes_the_map_and_nowhere_else():
    keys = expected_keys(create_model("resnet18"), "torchvision")
    shortcuts = {key.split(".downsample")[0] for key in keys if "downsample" in key}
    assert shortcuts == {"layer2.0", "layer3.0", "layer4.0"}


@pytest.mark.parametrize(
    ("naming", "name", "path", "key", "size"),
    [
        ("torchvision", "vgg11", FC6, "classifier.0.weight", 7),
        ("timm", "vgg11", FC6, "pre_logits.fc1.weight", 7),
        ("torchvision", "alexnet_owt", FC6, "classifier.1.weight", 6),
        (
            "torchvision",
            "googlenet_bn",
            ("params", "aux_4a", "fc1", "kernel"),
            "aux1.fc1.weight",
            4,
        ),
        ("torchvision", "vgg11", ("params", "fc7", "kernel"), "classifier.3.weight", 1),
        ("torchvision", "vgg11", ("params", "logits", "kernel"), "classifier.6.weight", 1),
    ],
)
def test_a_linear_layer_sees_a_flattened_map_as_torch_does(naming, name, path, key, size):
    model = narrow(name)
    tensors = random_tensors(model, naming)
    ours = flatten_dict(tensors_to_variables(model, tensors, naming))[path]
    channels = len(ours) // size**2
    chw = np.random.default_rng(3).normal(size=(channels, size, size))
    theirs = tensors[key].reshape(len(tensors[key]), -1) @ chw.ravel()
    np.testing.assert_allclose(chw.transpose(1, 2, 0).ravel() @ ours, theirs, rtol=1e-5)


def test_a_convolution_is_torchs():
    model = narrow("vgg11")
    tensors = random_tensors(model, "torchvision")
    kernel = tensors_to_variables(model, tensors, "torchvision")["params"]["conv2_1"]["kernel"]
    for row, column, i, o in ((0, 2, 3, 5), (1, 0, 7, 30)):
        assert kernel[row, column, i, o] == tensors["features.3.weight"][o, i, row, column]


def test_double_precision_is_kept():
    model = narrow("resnet50", norm=KERAS_NORM)
    tensors = {k: v.astype(np.float64) + 1e-12 for k, v in random_tensors(model, "keras").items()}
    variables = tensors_to_variables(model, tensors, "keras")
    assert {array.dtype for array in flatten_dict(variables).values()} == {np.dtype(np.float64)}
    mean = tensors["conv1_bn/moving_mean"] - tensors["conv1_conv/bias"]
    np.testing.assert_array_equal(variables["batch_stats"]["bn1"]["mean"], mean)


@pytest.mark.parametrize(
    ("naming", "name"), [("timm", "vgg13_bn"), ("timm", "resnet34"), ("torchvision", "vgg13")]
)
def test_tensors_come_back_to_the_bit(naming, name):
    model = narrow(name)
    tensors = random_tensors(model, naming)
    back = variables_to_tensors(model, tensors_to_variables(model, tensors, naming), naming)
    assert_same(tensors, back)


def test_names_that_a_network_does_not_have():
    model = create_model("resnet50")
    said = refusal(expected_keys, model, "torchvision")
    assert "its nearest is 'resnet50_v1_5' (they differ in stride_in)." in said
    assert "torchvision has no network that computes what 'resnet50' does" in refusal(
        variables_to_tensors, model, {}, "torchvision"
    )
    assert "not written in Keras' names" in refusal(variables_to_tensors, model, {}, "keras")
    assert "did you mean 'torchvision'?" in refusal(expected_keys, model, "torchvison")


def test_keras_biases_are_folded_into_the_running_means():
    model = narrow("resnet50", norm=KERAS_NORM)
    tensors = random_tensors(model, "keras")
    variables = tensors_to_variables(model, tensors, "keras")
    images = np.random.default_rng(4).normal(size=(1, 32, 32, 3)).astype(np.float32)
    found = features(model, variables, images, ("conv1", "bn1"))
    mean, var, gamma, beta = (
        tensors[f"conv1_bn/{key}"] for key in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    convolved = found["conv1"] + tensors["conv1_conv/bias"]
    expected = gamma * (convolved - mean) / np.sqrt(var + 1.001e-5) + beta
    np.testing.assert_allclose(found["bn1"], expected, rtol=1e-4, atol=1e-4)


# Saving


@pytest.mark.parametrize("name", list_models())
def test_what_is_saved_is_loaded_to_the_bit(name, tmp_path):
    model, path = narrow(name), tmp_path / "weights.safetensors"
    variables = random_variables(model, channels := 1 if name in MNIST else 3)
    preprocessing = Preprocessing((127.5,) * channels, (1 / 3,) * channels)
    names = [f"class {i}" for i in range(model.num_classes)]
    save_weights(path, model, variables, preprocessing=preprocessing, class_names=names)
    loaded = jaxcnn.load_pretrained(name, path)
    assert_same(variables, loaded.variables)
    assert (loaded.model, loaded.preprocessing) == (model, preprocessing)
    assert (loaded.class_names, loaded.notes) == (tuple(names), ())
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    if name in NAMINGS["torchvision"].networks:
        check_that_pytorch_loads_strictly(path, model)


def check_that_pytorch_loads_strictly(path, model):
    expected = expected_keys(model, "torchvision")
    tensors, _ = contents(path)
    counters = {
        key.replace("running_var", "num_batches_tracked")
        for key in expected
        if "running_var" in key
    }
    assert tensors.keys() == expected.keys() | counters
    assert all(tensors[key].shape == expected[key] for key in expected)
    assert all(tensors[key].dtype == np.int64 and tensors[key].shape == () for key in counters)


def contents(path):
    with safe_open(path, "np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("resnet50", {}),  # the stride elsewhere
        ("resnet50_v1_5", {"norm": KERAS_NORM}),
        ("vgg16", {"activation": nn.gelu}),
        ("resnet18", {"shortcut": "A"}),  # as near to plain18
        ("googlenet_bn", {"size": 5}),
        ("lenet5", {}),
    ],
)
def test_what_torchvision_would_compute_otherwise_is_not_saved_under_its_names(
    name, fields, tmp_path
):
    model, path = narrow(name, **fields), tmp_path / "weights.safetensors"
    variables = random_variables(model)
    save_weights(path, model, variables)
    tensors, header = contents(path)
    assert header["names"] == "jaxcnn"
    assert "logits/kernel" in tensors
    loaded = jaxcnn.load_pretrained(name, path)
    assert_same(variables, loaded.variables)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    assert jax.eval_shape(loaded.model.apply, loaded.variables, images).shape[0] == 1
    norm = getattr(loaded.model, "norm", None)
    assert norm is None or norm(name="bn").epsilon == model.norm(name="bn").epsilon
    assert getattr(loaded.model, "activation", None) == fields.get(
        "activation", getattr(model, "activation", None)
    )


def test_a_partial_of_an_activation_and_a_dtype_come_back(tmp_path):
    steep = functools.partial(nn.leaky_relu, negative_slope=0.3)
    model = narrow("vgg16_average", activation=steep, dtype=jnp.bfloat16, axis_name="batch")
    save_weights(tmp_path / "w", model, random_variables(model))
    loaded = jaxcnn.load_pretrained("vgg16_average", tmp_path / "w").model
    assert loaded.activation.func is nn.leaky_relu
    assert loaded.activation.keywords == {"negative_slope": 0.3}
    assert (loaded.dtype, loaded.axis_name) == (jnp.bfloat16, None)


def test_alexnets_for_one_size_alone_keep_it(tmp_path):
    model = narrow("alexnet_bn")
    images = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    save_weights(tmp_path / "w", model, variables)
    loaded = jaxcnn.load_pretrained("alexnet_bn", tmp_path / "w", num_classes=3)
    assert loaded.variables["params"]["fc6"]["kernel"].shape == (2 * 2 * 64, 12)
    assert loaded.notes == ("a new head of 3 classes, drawn by seed 0: logits",)


def test_a_name_stands_for_the_network_of_the_variables(tmp_path):
    model = create_model("lenet5", num_classes=7)
    save_weights(tmp_path / "w", "lenet5", random_variables(model))
    assert jaxcnn.load_pretrained("lenet5", tmp_path / "w").model == model


def test_what_cannot_be_saved_is_told_in_a_sentence_and_writes_nothing(tmp_path):
    model = create_model("lenet5")
    variables, path = random_variables(model), tmp_path / "w"
    save = functools.partial(refusal, save_weights, path)
    assert "'logits/bias' should have the shape (7,), and has (10,)" in save(
        model.clone(num_classes=7), variables
    )
    lacking = {"params": {k: v for k, v in variables["params"].items() if k != "f6"}}
    assert "lacks 'f6/bias' and 1 other" in save(model, lacking)
    assert "3 class names do not fit 10 classes" in save(model, variables, class_names="abc")
    assert "for 1 channels does not fit weights for 3" in save(
        model, variables, preprocessing=Preprocessing((0.0,), (1.0,))
    )
    vgg = narrow("vgg11", activation=lambda x: x)
    assert "the field activation" in save(vgg, random_variables(vgg))
    assert "there is no model 'lenet6'; did you mean 'lenet5'?" in save("lenet6", variables)
    assert "register it" in save(nn.Dense(3), variables)
    assert "end its name in .safetensors" in refusal(
        save_weights, tmp_path / "w.pth", model, variables
    )
    assert not list(tmp_path.iterdir())
    assert "cannot be written" in refusal(save_weights, path / "no" / "w", model, variables)


# Loading what others have published


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_the_same_network_by_the_names_of_two_libraries(naming, monkeypatch):
    model = narrow("vgg16_bn", num_classes=6)
    tensors = {f"module.{k}": v for k, v in random_tensors(model, naming).items()}
    tensors["module.features.1.num_batches_tracked"] = np.array(7)
    loaded = load(monkeypatch, "vgg16_bn", tensors, **fields_of(model))
    assert (loaded.model, loaded.preprocessing) == (model, RGB)
    assert (loaded.class_names, loaded.notes) == (None, ())
    assert isinstance(loaded.variables["params"]["conv1_1"]["kernel"], jax.Array)


def test_resnet_of_keras_comes_with_its_epsilon_and_its_channel_order(monkeypatch):
    tensors = random_tensors(narrow("resnet50", norm=KERAS_NORM), "keras")
    loaded = load(monkeypatch, "resnet50", tensors, "keras", width=16)
    assert loaded.model.norm(name="bn").epsilon == 1.001e-5
    assert loaded.preprocessing == BGR
    assert loaded.notes == ()


def test_keras_without_its_top(monkeypatch):
    model = narrow("vgg16")
    tensors = {k: v for k, v in random_tensors(model, "keras").items() if k.startswith("block")}
    fields = fields_of(model)
    loaded = load(monkeypatch, "vgg16", tensors, "keras", num_classes=5, seed=3, **fields)
    assert loaded.notes == (
        "the file is without the top",
        "a new head of 5 classes, drawn by seed 3: fc6, fc7, logits",
    )
    np.testing.assert_array_equal(
        loaded.variables["params"]["conv5_3"]["kernel"], tensors["block5_conv3/kernel"]
    )


def test_googlenets_auxiliary_classifiers(monkeypatch):
    model = narrow("googlenet_bn")
    tensors = random_tensors(model, "torchvision")
    whole = load(monkeypatch, "googlenet_bn", tensors, width=16)
    assert {"aux_4a", "aux_4d"} <= whole.variables["params"].keys()
    np.testing.assert_array_equal(
        whole.variables["params"]["aux_4d"]["conv1x1"]["kernel"],
        tensors["aux2.conv.conv.weight"].transpose(2, 3, 1, 0),
    )
    assert (whole.model.auxiliary, whole.notes) == (True, ())
    ignored = load(monkeypatch, "googlenet_bn", tensors, width=16, auxiliary=False)
    assert not any(key.startswith("aux") for key in ignored.variables["params"])
    without = {key: array for key, array in tensors.items() if not key.startswith("aux")}
    lacking = load(monkeypatch, "googlenet_bn", without, width=16)
    assert not lacking.model.auxiliary
    assert lacking.notes == ("no auxiliary classifiers, which the file lacks: auxiliary=False",)
    assert "lacks 'aux1.conv.conv.weight'" in refusal(
        load, monkeypatch, "googlenet_bn", without, width=16, auxiliary=True
    )
    # torchvision's normalisation and then its `transform_input`, in one.
    image = np.array([[[0, 100, 255]]], np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    transformed = (image / 255 - mean) / std * (std / 0.5) + (mean - 0.5) / 0.5
    np.testing.assert_allclose(whole.preprocessing(image), transformed, atol=1e-6)


def test_half_precision_is_widened_and_double_rounded_with_a_note(monkeypatch):
    model = narrow("vgg11")
    tensors = random_tensors(model, "torchvision")
    for dtype, notes in ((np.float16, 0), (jnp.bfloat16, 0), (np.float64, 1)):
        loaded = load(
            monkeypatch, "vgg11", {k: v.astype(dtype) for k, v in tensors.items()},
            **fields_of(model),
        )  # fmt: skip
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded.variables)} == {jnp.dtype("float32")}
        assert len(loaded.notes) == notes


# Refusing what does not fit


@pytest.mark.parametrize(
    ("naming", "given", "asked", "message"),
    [
        ("torchvision", "resnet50_v1_5", "resnet50", "(they differ in stride_in): load it by that"),
        ("torchvision", "alexnet_owt", "alexnet", "fits 'alexnet_owt'"),
        ("torchvision", "googlenet_bn", "googlenet", "fits 'googlenet_bn'"),
        ("torchvision", "vgg16", "vgg16_1x1", "fits 'vgg16', which computes something else"),
        ("torchvision", "vgg16", "lenet5", "fits 'vgg16', which computes something else"),
        ("torchvision", "vgg19", "vgg16", "not fit 'vgg16': it lacks 'features.17.weight' and 5"),
        ("torchvision", "vgg16", "vgg19", "does not fit 'vgg19': it lacks 'features.16.weight' an"),
        ("torchvision", "resnet34", "resnet18", "; it fits 'resnet34': load it by that name."),
        ("timm", "vgg11_bn", "vgg11", "; it fits 'vgg11_bn': load it by that name."),
        ("keras", "vgg19", "vgg16", "; it fits 'vgg19': load it by that name."),
    ],
)
def test_weights_of_another_network(naming, given, asked, message, monkeypatch):
    kind = "keras" if naming == "keras" else "torch"
    said = refusal(load, monkeypatch, asked, shapes_alone(given, naming), kind)
    assert message in said
    assert said.startswith("weights.pth ")


def test_keras_weights_are_not_for_the_later_form(monkeypatch):
    shapes = expected_keys(create_model("resnet50", norm=KERAS_NORM), "keras")
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    for fields in ({}, {"norm": KERAS_NORM}):
        said = refusal(load, monkeypatch, "resnet50_v1_5", tensors, "keras", **fields)
        assert "fits 'resnet50', which computes something else than 'resnet50_v1_5'" in said
        assert "stride_in" in said


def test_one_wrong_tensor_is_named(monkeypatch):
    tensors = shapes_alone("vgg11", "torchvision")
    load_vgg = functools.partial(refusal, load, monkeypatch, "vgg11")
    lacking = {key: array for key, array in tensors.items() if key != "features.3.bias"}
    assert "does not fit 'vgg11': it lacks 'features.3.bias'." in load_vgg(lacking)
    surplus = {**tensors, "extra\n": np.zeros(1)}
    assert r"it has 'extra\n', of which the network knows nothing." in load_vgg(surplus)
    wrong = {**tensors, "features.3.weight": np.zeros((128, 64, 5, 5), np.float32)}
    assert (
        "'features.3.weight' should have the shape (128, 64, 3, 3), and has (128, 64, 5, 5)."
    ) in load_vgg(wrong)
    kinds = {**tensors, "features.3.bias": np.zeros(128, np.int64)}
    assert "'features.3.bias' holds int64, not floating-point numbers" in load_vgg(kinds)
    assert "lacks 'features.0.weight' and 21 others" in load_vgg({})
    flat = {**tensors, "features.0.weight": np.zeros(3), "classifier.6.bias": np.float32(0)}
    assert "'features.0.weight' should have the shape (64, 3, 3, 3), and has (3,)" in load_vgg(flat)


def test_the_head_of_keras_is_whole_or_missing(monkeypatch):
    tensors = shapes_alone("vgg16", "keras")
    del tensors["fc2/kernel"]
    assert "lacks 'fc2/kernel'." in refusal(load, monkeypatch, "vgg16", tensors, "keras")
    topless = {key: array for key, array in tensors.items() if key.startswith("block")}
    assert "; it fits 'vgg16': load" in refusal(load, monkeypatch, "vgg19", topless, "keras")


def test_wrong_arguments_are_told_before_the_file_is_read():
    message = refusal(jaxcnn.load_pretrained, "vgg16", "no-such-file", dropuot=0.1)
    assert "did you mean 'dropout'?" in message
    message = refusal(jaxcnn.load_pretrained, "vgg16", "no-such-file", in_channels=0)
    assert message == "in_channels must be at least 1, not 0."
    assert "did you mean 'vgg16_bn'" in refusal(jaxcnn.load_pretrained, "vgg16bn", "no-such-file")


def test_a_file_of_ours_under_another_name_or_with_a_damaged_header(monkeypatch, tmp_path):
    model = create_model("lenet5")
    save_weights(tmp_path / "w", model, random_variables(model))
    said = refusal(jaxcnn.load_pretrained, "mnist_cnn", tmp_path / "w")
    assert "holds weights of 'lenet5', not of 'mnist_cnn'" in said
    tensors, header = contents(tmp_path / "w")
    for change in (
        {"fields": "{"},
        {"fields": '{"colour": 1}'},
        {"fields": '{"width": "wide"}'},
        {"model": "lenet7"},
        {"preprocessing": '{"mean": [1]}'},
    ):
        save_file(tensors, tmp_path / "w", {**header, **change})
        assert "has a damaged header" in refusal(jaxcnn.load_pretrained, "lenet5", tmp_path / "w")
    function = {"function": "exec", "keywords": {}}
    save_file(tensors, tmp_path / "w", {**header, "fields": json.dumps({"norm": function})})
    assert "has a damaged header" in refusal(jaxcnn.load_pretrained, "lenet5", tmp_path / "w")
    save_file(tensors, tmp_path / "w", {**header, "format_version": "2", "version": "9.0"})
    assert "was written by jaxcnn 9.0" in refusal(jaxcnn.load_pretrained, "lenet5", tmp_path / "w")


# Adapting


def test_another_number_of_classes_is_a_new_head_and_nothing_else(monkeypatch):
    model = narrow("resnet18")
    tensors = random_tensors(model, "torchvision")
    loaded = load(monkeypatch, "resnet18", tensors, num_classes=4, width=16)
    same = load(monkeypatch, "resnet18", tensors, num_classes=1000, width=16)
    assert loaded.model == model.clone(num_classes=4)
    assert loaded.notes == ("a new head of 4 classes, drawn by seed 0: logits",)
    assert same.notes == ()
    old, new = flatten_dict(same.variables), flatten_dict(loaded.variables)
    changed = {path for path in old if not np.array_equal(old[path], new[path])}
    assert changed == {("params", "logits", "kernel"), ("params", "logits", "bias")}
    shape = jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    assert jax.eval_shape(loaded.model.apply, loaded.variables, shape).shape == (2, 4)
    dense = functools.partial(loaded.model.apply, dense=True)
    shape = jax.ShapeDtypeStruct((1, 256, 224, 3), jnp.float32)
    assert jax.eval_shape(dense, loaded.variables, shape).shape == (1, 2, 1, 4)


def test_a_new_head_is_drawn_as_the_network_draws_it(tmp_path):
    model = narrow("mnist_cnn")
    save_weights(tmp_path / "w", model, random_variables(model))
    loaded = jaxcnn.load_pretrained("mnist_cnn", tmp_path / "w", num_classes=3, seed=5)
    init = jax.jit(loaded.model.init, compiler_options={"xla_backend_optimization_level": 0})
    initial = init(jax.random.key(5), jnp.zeros((1, 28, 28, 3)))["params"]["logits"]
    drawn = loaded.variables["params"]["logits"]
    np.testing.assert_allclose(drawn["kernel"], initial["kernel"], rtol=1e-6)
    assert not drawn["bias"].any()


def test_new_auxiliary_heads_come_with_a_new_head(monkeypatch):
    tensors = random_tensors(narrow("googlenet_bn"), "torchvision")
    loaded = load(monkeypatch, "googlenet_bn", tensors, num_classes=3, width=16)
    assert loaded.notes == (
        "a new head of 3 classes, drawn by seed 0: aux_4a/logits, aux_4d/logits, logits",
    )


def saved(tmp_path, name, preprocessing, **fields):
    model = narrow(name, **fields)
    save_weights(tmp_path / "w", model, random_variables(model), preprocessing=preprocessing)
    return name, tmp_path / "w"


GREY = np.random.default_rng(5).integers(0, 256, (1, 67, 67, 1), np.uint8)


@pytest.mark.parametrize(
    ("name", "feature", "preprocessing", "border"),
    [
        ("alexnet_one_tower", "conv1", BGR, 0),  # unpadded: exact everywhere
        ("alexnet_one_tower", "conv1", RGB, 0),
        ("vgg11", "conv1_1", RGB, 1),
        ("resnet18", "bn1", BGR, 2),
    ],
)
def test_a_grey_image_gives_what_its_rgb_copy_gave(name, feature, preprocessing, border, tmp_path):
    file = saved(tmp_path, name, preprocessing)
    color, grey = jaxcnn.load_pretrained(*file), jaxcnn.load_pretrained(*file, in_channels=1)
    assert len(grey.preprocessing.mean) == 1
    assert "for grey images" in grey.notes[0]

    def shown(network, image):
        return features(network.model, network.variables, network.preprocessing(image), (feature,))

    three = np.asarray(shown(color, GREY.repeat(3, axis=-1))[feature])
    one = np.asarray(shown(grey, GREY)[feature])
    inside = (slice(None), *[slice(border, length - border) for length in three.shape[1:3]])
    np.testing.assert_allclose(one[inside], three[inside], atol=2e-5 * np.abs(three).max())
    assert np.std(three) > 1e-3 * np.abs(three).max()


def test_further_channels_repeat_red_green_and_blue(tmp_path):
    file = saved(tmp_path, "vgg11", BGR)
    three, five = jaxcnn.load_pretrained(*file), jaxcnn.load_pretrained(*file, in_channels=5)
    before, after = (n.variables["params"]["conv1_1"]["kernel"] for n in (three, five))
    np.testing.assert_allclose(after, before[:, :, [2, 1, 0, 2, 1]] * 3 / 5, rtol=1e-6)
    assert five.preprocessing.mean == (123.68, 116.779, 103.939, 123.68, 116.779)
    assert (five.preprocessing.channel_order, five.preprocessing.crop) == ("RGB", 224)
    assert "5 channels" in five.notes[0]
    assert five.preprocessing(GREY.repeat(5, axis=-1)).shape == (1, 67, 67, 5)


def test_without_preprocessing_kernels_are_summed_alone(tmp_path):
    file = saved(tmp_path, "vgg11", None)
    before, after = jaxcnn.load_pretrained(*file), jaxcnn.load_pretrained(*file, in_channels=1)
    assert after.preprocessing is None
    before, after = before.variables["params"]["conv1_1"], after.variables["params"]["conv1_1"]
    np.testing.assert_allclose(after["kernel"][:, :, 0], before["kernel"].sum(2), rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], before["bias"])


# The room


def test_importing_jaxcnn_imports_none_of_it():
    code = (
        "import sys, jaxcnn\n"
        "loaded = [n for n in sys.modules if n.startswith('jaxcnn.pretrained')]\n"
        "assert callable(jaxcnn.load_pretrained)\n"
        "print(loaded, [n for n in ('safetensors', 'h5py') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    assert not hasattr(jaxcnn, "load_pretrian")
