"""What is exported: the same answers as the network's, without this package."""

import collections
import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import linen as nn
from networks import initialized

from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.exporting import classifying, onnx_file, write_onnx, write_stablehlo
from jaxcnn.exporting.graph import Graph, Value
from jaxcnn.models import create_model, image_shape, layers
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import save_weights

pytestmark = pytest.mark.usefixtures("compile_quickly")
# Of every family, small: the fields, and the side of the images if not the usual one.
NETWORKS = {
    "vgg11": ({"width": 4, "hidden": (8, 6)}, 40),
    "vgg11_lrn": ({"width": 4, "hidden": (8, 6)}, 32),
    "vgg16_1x1_bn": ({"width": 4, "hidden": (8, 6)}, 32),
    "vgg16_average": ({"width": 4}, 64),
    "alexnet": ({"width": 12, "hidden": (16, 8)}, 95),  # LRN, groups
    "alexnet_pool_bn": ({"width": 6, "hidden": (8,)}, 100),  # 'SAME', BatchNorm after pools
    "zfnet": ({"width": 6, "hidden": (8, 6)}, 90),  # pools in ceiling mode
    "googlenet": ({}, 64),
    "resnet18": ({"width": 4}, 50),  # a padded pool
    "resnet20": ({"width": 4}, 32),  # shortcuts of every second position and zeros
    "resnet50_nobn": ({"width": 4}, 50),
    "lenet5": ({}, None),
    "lenet5_1998": ({}, None),
    "mnist_cnn": ({"width": 4}, None),
}


def small(name, **arguments):
    """A small network as it is exported, for colour images in BGR, and images for it."""
    fields, side = NETWORKS[name]
    height, width, channels = image_shape(name)
    height, width = (side or height, (side or width) + 3 * (side is not None))
    model = create_model(name, num_classes=7, **fields)
    variables = initialized(model, (1, height, width, channels))
    return exported(model, variables, (height, width, channels), **arguments)


def exported(model, variables, shape, **arguments):
    height, width, channels = shape
    order = "BGR" if channels == 3 else "RGB"
    prepare = Preprocessing((120.0, 110.0, 100.0)[:channels], (60.0,) * channels, order)
    found = classifying(
        model,
        variables,
        arguments.pop("preprocessing", prepare),
        height=height,
        width=width,
        channels=channels,
        **arguments,
    )
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    return found, images.astype(found.dtype)


def answers(path, images):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {"images": images})[0]


def assert_close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def operators(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_networks_logits(name, tmp_path):
    found, images = small(name, logits=True)
    write_onnx(tmp_path / "w.onnx", found)
    expected = np.asarray(jax.jit(found.function)(images))
    assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()  # it looks at the images
    for batch in (3, 1):
        assert_close(answers(tmp_path / "w.onnx", images[:batch]), expected[:batch])
    onnx.checker.check_model(str(tmp_path / "w.onnx"), full_check=True)


def test_the_graph_is_one_that_others_would_write(tmp_path):
    """Layers are operators, biases within them, and axes are swapped twice, whatever the depth."""
    write_onnx(tmp_path / "w.onnx", small("vgg16_1x1_bn")[0])
    assert operators(tmp_path / "w.onnx") == {
        **{"Slice": 1, "Cast": 1, "Sub": 1, "Div": 1},  # the preprocessing
        **{"Transpose": 2, "Conv": 13, "BatchNormalization": 13, "Relu": 15, "MaxPool": 5},
        **{"Einsum": 1, "Reshape": 1, "Gemm": 3, "Softmax": 1},  # 1 x 1 is averaged to 7 x 7
    }
    graph = onnx.load(tmp_path / "w.onnx").graph
    names = [node.name for node in graph.node]
    assert {"conv1_1/Conv", "bn3_2/BatchNormalization", "pool5/MaxPool", "fc6/Gemm"} <= set(names)
    shape = graph.input[0].type.tensor_type.shape.dim
    assert [length.dim_param or length.dim_value for length in shape] == ["batch", 32, 35, 3]
    assert [each.name for each in graph.output] == ["probabilities"]
    assert len({each.name for each in graph.initializer}) == len(graph.initializer)
    needed = {name for node in graph.node for name in node.input}
    assert {each.name for each in graph.initializer} <= needed


def test_probabilities_and_images_that_are_normalised(tmp_path):
    found, images = small("lenet5")
    write_onnx(tmp_path / "p.onnx", found)
    probabilities = answers(tmp_path / "p.onnx", images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    plain, _ = small("lenet5", preprocessing=None, logits=True)
    assert plain.dtype == np.float32
    write_onnx(tmp_path / "l.onnx", plain)
    logits = answers(tmp_path / "l.onnx", (images.astype(np.float32) - 120) / 60)
    assert_close(probabilities, np.asarray(jax.nn.softmax(logits)))


def test_a_network_in_bfloat16_is_exported_in_float32(tmp_path):
    model = create_model("mnist_cnn", dtype=jnp.bfloat16, width=4)
    variables = initialized(model, (1, 28, 28, 1))
    found, _ = exported(model, variables, (28, 28, 1))
    with pytest.raises(UserError, match="export the network with dtype=float32"):
        write_onnx(tmp_path / "w.onnx", found)
    assert not any(tmp_path.iterdir())
    found, images = exported(model, variables, (28, 28, 1), dtype=jnp.float32)
    write_onnx(tmp_path / "w.onnx", found)
    assert_close(answers(tmp_path / "w.onnx", images), np.asarray(found.function(images)))


# Layers by themselves


class Alone(nn.Module):
    """One function of maps, as a network."""

    function: object
    num_classes: int = 5
    axis_name: str | None = None
    conv_general_dilated: object = None
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, images, *, train=False):
        x = self.function(images)
        return nn.Dense(self.num_classes, name="logits")(x.reshape(x.shape[0], -1))


def alone(function, tmp_path, shape=(9, 11, 3)):
    """Writes a network of this function, checks it, and returns its operators."""
    model = Alone(function)
    found, images = exported(model, initialized(model, (1, *shape)), shape, logits=True)
    write_onnx(tmp_path / "w.onnx", found)
    assert_close(answers(tmp_path / "w.onnx", images), np.asarray(found.function(images)))
    return operators(tmp_path / "w.onnx")


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 2)]
)
@pytest.mark.parametrize("shape", [(7, 10, 3), (8, 9, 3)])
def test_max_pools_of_every_kind_are_one_operator(window, stride, padding, ceil, shape, tmp_path):
    # Negative everywhere, so that padding by zeros would show.
    found = alone(lambda x: layers.MaxPool(window, stride, padding, ceil)(x - 10), tmp_path, shape)
    assert found["MaxPool"] == 1
    assert found["Pad"] == found["Slice"] - 1 == 0  # what is cut is the order of colours


def test_what_has_no_operator_is_written_from_what_it_does(tmp_path):
    def norm(n, **constants):
        return lambda x: layers.LocalResponseNorm(n, **constants)(x)

    assert alone(lambda x: layers.MaxPool(2, 3)(x), tmp_path)["Max"] > 0
    assert alone(norm(4), tmp_path, (4, 4, 3))["LRN"] == 0
    assert alone(norm(5, k=1.0, alpha=0.5), tmp_path, (4, 4, 3))["LRN"] == 1
    assert alone(lambda x: layers.AveragePool(3, 2)(x), tmp_path)["AveragePool"] == 1


def test_what_is_used_twice_is_computed_once(tmp_path):
    def function(x):
        y = nn.Conv(4, (3, 3), use_bias=False)(x)
        return (y + jnp.arange(4.0)) * y

    assert alone(function, tmp_path)["Conv"] == 1


def test_convolutions_are_plain_whatever_training_had():
    """A function that computes them otherwise is no part of the network."""

    def otherwise(*_, **__):
        raise AssertionError("is called")

    model = create_model("mnist_cnn", width=4, conv_general_dilated=otherwise)
    variables = initialized(create_model("mnist_cnn", width=4), (1, 28, 28, 1))
    found, images = exported(model, variables, (28, 28, 1))
    assert jax.eval_shape(found.function, images).shape == (3, 10)


@pytest.mark.parametrize(
    "function",
    [
        nn.silu,
        nn.gelu,
        nn.softplus,
        nn.elu,
        functools.partial(nn.leaky_relu, negative_slope=0.3),
        lambda x: x[:, ::2, 1:7:3],
        lambda x: x[:, ::-1, 2],
        lambda x: x[:, jnp.array([0, 1, 4])],
        lambda x: x[:, 1:4, 2, jnp.array([2, 0])],
        lambda x: jnp.concatenate([x, -x, x[..., :1]], axis=-1),
        lambda x: jnp.pad(x, [(0, 0), (1, 2), (0, 3), (2, 0)], constant_values=2.0),
        lambda x: x.transpose(0, 3, 1, 2).mean(axis=2) - x.max(axis=(1, 3))[:, None],
        lambda x: x * jnp.broadcast_to(x[:, :1], x.shape) + jnp.ones_like(x),
        lambda x: x**3 + jnp.sqrt(jnp.abs(x)) / (1 + x**2),
        lambda x: jnp.einsum("nhwc,nhwd->ncd", x, x),
        lambda x: jnp.maximum(x.mean(axis=(1, 2)), jnp.zeros(3)),
        lambda x: jnp.maximum(x[:, :1], jnp.zeros((1, 9, 1, 1))),  # as many rows as the zeros
        # Added to rows, which are as many as the channels: no bias.
        lambda x: nn.Conv(9, (3, 3), use_bias=False)(x) + jnp.arange(9.0).reshape(1, 9, 1, 1),
        lambda x: layers.adaptive_average_pool(x, 4),
        lambda x: layers.sliding_average_pool(x, 3),
        lambda x: nn.Conv(6, (3, 2), strides=(2, 1), kernel_dilation=2, padding="SAME")(x),
    ],
)
def test_functions_are_what_they_were(function, tmp_path):
    alone(function, tmp_path)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: jnp.sort(x, axis=1), "the network computes 'sort', which is not written"),
        (lambda x: nn.ConvTranspose(4, (3, 3), (2, 2))(x), "has a convolution that is transposed"),
        (
            lambda x: jnp.concatenate([x, jnp.ones_like(x)]).reshape(x.shape[0], -1),
            "computes 'concatenate' of one constant for every image",
        ),
    ],
)
def test_what_is_not_written_is_said_and_nothing_is_left(function, said, tmp_path):
    with pytest.raises(UserError, match="; export it as StableHLO") as error:
        alone(function, tmp_path)
    assert said in str(error.value)
    assert not any(tmp_path.iterdir())


def test_axes_are_swapped_where_they_must_be():
    graph = Graph()
    value = Value("x", (2, 3, 4, 5), (0, 3, 1, 2))  # NHWC that lies as NCHW
    assert graph.arranged(value, (0, 3, 1, 2)) == "x"
    name = graph.arranged(value, (0, 1, 2, 3))
    assert graph.nodes[0].attributes == {"perm": [0, 2, 3, 1]}
    assert graph.arranged(value, (0, 1, 2, 3)) == name
    assert len(graph.nodes) == 1


def test_without_its_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'jaxcnn\[onnx\]'"):
        write_onnx(tmp_path / "w.onnx", small("lenet5")[0])


def test_a_file_of_onnx_has_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_LARGEST", 1000)
    with pytest.raises(UserError, match="GB are more than a file of ONNX holds"):
        write_onnx(tmp_path / "w.onnx", small("lenet5")[0])


# StableHLO

RUN = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jaxcnn", "experiments", "flax"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from jax import export

folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
for name in sys.argv[2:]:
    network = export.deserialize(open(f"{folder}/{name}", "rb").read())
    assert network.platforms == ("cpu", "cuda", "tpu"), network.platforms
    assert network.in_avals[0].dtype == images.dtype, network.in_avals
    for batch in (1, len(images)):
        found = network.call(images[:batch])
    np.save(f"{folder}/{name}.npy", found)
assert not {"jaxcnn", "flax"} & set(sys.modules)
"""


def test_stablehlo_runs_in_a_process_without_this_package(tmp_path):
    networks = {
        "lenet5.stablehlo": small("lenet5"),
        "lenet5_1998.stablehlo": small("lenet5_1998", logits=True),
    }
    for name, (found, images) in networks.items():  # noqa: B007 - both take the same
        write_stablehlo(tmp_path / name, found)
    np.save(tmp_path / "images.npy", images)
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), *networks], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    for name, (found, images) in networks.items():
        assert_close(np.load(tmp_path / f"{name}.npy"), np.asarray(found.function(images)))


@pytest.mark.parametrize("name", ["alexnet"])
def test_stablehlo_knows_every_batch(name, tmp_path):
    found, images = small(name, logits=True)
    write_stablehlo(tmp_path / "w", found)
    network = jax.export.deserialize((tmp_path / "w").read_bytes())
    assert str(network.in_avals[0].shape[0]) == "batch"
    assert_close(np.asarray(network.call(images[:2])), np.asarray(found.function(images[:2])))


# The command


@pytest.fixture
def weights(tmp_path):
    model = create_model("mnist_cnn", width=4, num_classes=3)
    variables = initialized(model, (1, 28, 28, 1))
    prepare = Preprocessing((30.0,), (70.0,), crop=32)
    save_weights(tmp_path / "w", model, variables, preprocessing=prepare)
    return model, variables, prepare, f"--weights={tmp_path / 'w'}"


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_weights_are_exported_by_a_command(form, weights, tmp_path, capsys):
    model, variables, prepare, option = weights
    path = tmp_path / "network"
    words = ["export", "mnist_cnn", option, f"--format={form}", f"--output={path}", "--json"]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    logits = np.asarray(model.apply(variables, prepare(images)))
    for extra, given, expected in (
        ([], images, jax.nn.softmax(logits)),
        (["--logits"], images, logits),
        (["--logits", "--normalized"], np.asarray(prepare(images)), logits),
    ):
        assert run_main(main, "jaxcnn", [*words, *extra]) == 0
        captured = capsys.readouterr()
        answer = "logits" if extra else "probabilities"
        assert json.loads(captured.out) == {
            "file": str(path),
            "bytes": path.stat().st_size,
            "images": ["batch", 32, 32, 1],
            "dtype": given.dtype.name,
            answer: ["batch", 3],
        }
        assert captured.err == ""
        if form == "onnx":
            found = answers(path, given)
        else:
            found = np.asarray(jax.export.deserialize(path.read_bytes()).call(given))
        assert_close(found, np.asarray(expected))


def test_a_network_without_weights_can_be_exported_too(tmp_path, capsys):
    words = ["export", "lenet5", "--format=onnx", f"--output={tmp_path / 'w'}", "--image-size=36"]
    assert run_main(main, "jaxcnn", [*words, "--num-classes=4"]) == 0
    captured = capsys.readouterr()
    assert "lenet5 has random weights" in captured.err
    assert "How images are normalised is not known" in captured.err
    assert "from images (batch, 36, 36, 1), float32, to probabilities (batch, 4)." in captured.out
    assert answers(tmp_path / "w", np.zeros((2, 36, 36, 1), np.float32)).shape == (2, 4)


def test_a_mistake_is_one_sentence(tmp_path, capsys):
    for words, said in (
        (["--format=onxx", "--output=w"], "did you mean 'onnx'?"),
        (["--format=onnx"], "the following arguments are required: --output"),
        (["--format=onnx", f"--output={tmp_path}/no/w"], "cannot be written"),
    ):
        assert run_main(main, "jaxcnn", ["export", "lenet5", "--quiet", *words]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
