"""Summaries of networks: counts to the unit of what others published, and nothing computed."""

import csv
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxcnn import create_model, models
from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.inspection import summarize
from jaxcnn.inspection.summary_text import MEGABYTE
from jaxcnn.inspection.tracing import calls
from jaxcnn.models.cpu_convolution import conv_general_dilated

with (Path(__file__).parent / "references" / "counts.csv").open() as file:
    COUNTS = list(csv.DictReader(file))
SLOW = ("resnet101", "resnet152")


def test_there_are_counts_of_many_networks():
    assert len({row["network"].split()[0] for row in COUNTS} - {*SLOW}) >= 22


# Quick but for the deepest two, whose layers are those of v1.5 and of resnet50.
QUICK = [
    pytest.param(row, marks=[pytest.mark.full] if row["network"] in SLOW else [], id=row["network"])
    for row in COUNTS
]


@pytest.mark.parametrize("row", QUICK)
def test_totals_are_the_published_ones(row):
    name, *without = row["network"].split()
    model = create_model(name, **({"auxiliary": False} if without else {}))
    *_, channels = models.image_shape(name)
    size = int(row["image_size"])
    if name.startswith("vgg"):
        model = model.clone(num_classes=1000)
    summary = summarize(model, (size, size, channels))
    assert summary.parameters == int(row["parameters"])
    assert summary.not_trained == int(row["statistics"])
    if row["giga_multiply_adds"]:
        assert f"{summary.multiply_adds / 1e9:.6f}" == row["giga_multiply_adds"]


def test_lenet_of_1998_multiplies_only_along_its_connections():
    """C3 has 151,600 connections in the paper, 16 x 100 of which are of its biases."""
    layers = {layer.name: layer for layer in summarize(models.LeNet5Original(), (32, 32, 1)).layers}
    assert layers["c1"].multiply_adds == 122_304 - 28 * 28 * 6  # the paper's, less the biases
    assert layers["c3"].multiply_adds == 151_600 - 1_600
    assert layers["c5"].multiply_adds == 48_120 - 120
    assert layers["f6"].multiply_adds == 10_164 - 84
    assert (layers["s2"].parameters, layers["c3"].parameters, layers["s4"].parameters) == (
        12,
        1_516,
        32,
    )
    assert sum(layer.multiply_adds for layer in layers.values()) == 325_680


def test_memory_is_torchsummarys():
    summary = summarize(models.VGG16BN(), (224, 224, 3))
    sizes = {
        "input": summary.input_bytes,
        "activations": summary.activation_bytes,
        "parameters": summary.parameter_bytes,
        "total": summary.total_bytes,
    }
    assert {name: f"{size / MEGABYTE:.2f}" for name, size in sizes.items()} == {
        "input": "0.57",
        "activations": "321.95",
        "parameters": "527.82",
        "total": "850.35",
    }
    batch = summarize(models.VGG16BN(), (224, 224, 3), 8)
    assert batch.input_bytes == 8 * summary.input_bytes
    assert batch.activation_bytes == 8 * summary.activation_bytes
    assert batch.parameter_bytes == summary.parameter_bytes
    assert batch.layers == summary.layers


def test_in_half_precision_outputs_take_half_of_the_memory_but_for_the_logits():
    single, half = (
        summarize(models.VGGSmall(num_classes=10, dtype=dtype), (32, 32, 3))
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert half.layers[-1].output_bytes == single.layers[-1].output_bytes == 40
    assert 2 * (half.activation_bytes - 80) == single.activation_bytes - 80
    assert half.parameter_bytes == single.parameter_bytes


@pytest.mark.parametrize("name", ["vgg_small", "resnet20", "googlenet", "alexnet", "mnist_cnn"])
def test_layers_have_the_names_and_the_shapes_of_the_features(name):
    model, shape = create_model(name), models.image_shape(name)
    summary = summarize(model, shape)
    names = [layer.name for layer in summary.layers]
    known = models.feature_names(model, (1, *shape))
    assert [n for n in known if n in names] == names
    others = {n for n in known if any(inner.startswith(f"{n}/") for inner in known)}
    assert set(known) - set(names) == others
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    evaluated = [layer for layer in summary.layers if not layer.training_only]
    features = jax.eval_shape(
        lambda v: models.features(
            model, v, jnp.zeros((1, *shape)), [layer.name for layer in evaluated]
        ),
        variables,
    )
    for layer in evaluated:
        assert layer.output_shape == features[layer.name].shape[1:]


def test_auxiliary_classifiers_are_of_training_alone():
    layers = summarize(models.GoogLeNet(), (224, 224, 3)).layers
    training = [layer for layer in layers if layer.training_only]
    assert training
    assert {layer.name.split("/")[0] for layer in training} == {"aux_4a", "aux_4d"}
    assert sum(layer.multiply_adds for layer in training) == 0
    assert sum(layer.parameters for layer in training) == 13_378_280 - 6_998_552
    shapes = {layer.name: layer.output_shape for layer in training}
    assert shapes["aux_4a/conv1x1"] == (4, 4, 128)
    assert shapes["aux_4d/logits"] == (1000,)
    # 5 x 5 means, three positions of 16 pixels apart, of what sees 171 pixels.
    fields = {layer.name: layer.field for layer in training}
    assert fields["aux_4a/relu1x1"] == ((235, 235), (48, 48), (46, 46))
    assert fields["aux_4a/fc1"] == ((224, 224), (0, 0), (111.5, 111.5))
    names = [layer.name for layer in layers]
    assert names[names.index("inception_4b/conv1x1") - 1] == "aux_4a/logits"
    assert names[names.index("aux_4a/pool") - 1] == "inception_4a/relu_pool_proj"


def test_how_convolutions_are_computed_changes_nothing():
    plain, fast = (
        summarize(models.AlexNet(width=12, conv_general_dilated=how), (224, 224, 3))
        for how in (None, conv_general_dilated)
    )
    assert plain == fast


class Odd(nn.Module):
    """What the networks here have not."""

    @nn.compact
    def __call__(self, x):
        shared = nn.Conv(4, (3, 3), name="shared")
        x = shared(shared(x))
        x = nn.ConvTranspose(8, (2, 2), strides=(2, 2), name="up")(x)
        x = nn.remat(nn.Conv)(6, (1, 3), name="remat")(x)
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        mixed = jnp.einsum("nac,nbc->nab", tokens, tokens) @ tokens
        scale = self.param("scale", nn.initializers.ones, (6,))
        self.variable("constants", "seen", jnp.zeros, (3,))
        return nn.Dense(5, name="last")((mixed * scale).mean(1))


def test_any_linen_network():
    summary = summarize(Odd(), (5, 6, 4))
    layers = [
        (layer.name, layer.output_shape, layer.parameters, layer.not_trained, layer.multiply_adds)
        for layer in summary.layers
    ]
    assert layers == [
        ("shared", (5, 6, 4), 9 * 16 + 4, 0, 30 * 9 * 16),
        ("shared", (5, 6, 4), 0, 0, 30 * 9 * 16),
        ("up", (10, 12, 8), 4 * 4 * 8 + 8, 0, 30 * 4 * 4 * 8),
        ("remat", (10, 12, 6), 3 * 8 * 6 + 6, 0, 120 * 3 * 8 * 6),
        ("last", (5,), 35, 0, 30),
        # The products of activations are the network's own, as is the parameter.
        ("Odd", (5,), 6, 3, 2 * 120 * 120 * 6),
    ]
    assert summary.name == "Odd"


def test_a_loop_counts_as_often_as_it_runs():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(x.shape[-1], name="dense")
            step = nn.scan(
                lambda module, x, _: (layer(x), None),
                variable_broadcast="params",
                split_rngs={"params": False},
                length=3,
            )
            return step(self, x, None)[0]

    (dense,) = summarize(Twice(), (2, 2, 5)).layers
    assert dense.name == "dense"
    assert dense.multiply_adds == 3 * 4 * 25
    assert dense.field is None


def test_nothing_is_computed():
    events = []

    def listen(name, *_, **__):
        events.append(name)

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        summarize(models.AlexNet(num_classes=7), (224, 224, 3))
        assert events
        assert not [name for name in events if "backend_compile" in name]
        jax.jit(lambda x: x + 1)(1.0)
        assert [name for name in events if "backend_compile" in name]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_trace_is_not_mistaken_for_an_earlier_one():
    model, images = models.LeNet5(), jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    first, variables = calls(model.init, key, images)
    again, _ = calls(model.init, key, images)
    assert first == again
    assert calls(model.apply, variables, images) == calls(model.apply, variables, images)


@pytest.mark.parametrize(
    ("shape", "batch_size"), [((0, 32, 3), 1), ((32, 32, 3), 0), ((16, 16, 3), 1)]
)
def test_what_is_no_size_is_refused(shape, batch_size):
    with pytest.raises(UserError):
        summarize(models.VGGSmall(), shape, batch_size)


def run(*words):
    return run_main(main, "jaxcnn", list(words))


def test_the_command_prints_a_table(capsys):
    assert run("summary", "vgg16_bn", "--image-size=224") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vgg16_bn on images of 224 x 224 x 3"
    cells = {line.split()[0]: line.split() for line in lines if line}
    assert cells["conv1_1"][1:] == (
        ["Conv", "224", "x", "224", "x", "64", "1,792", "-", "86,704,128", "12.25", "3", "1", "0"]
    )
    assert cells["pool5"][-3:] == ["212", "32", "15.5"]
    assert cells["logits"][-3:] == ["224", "-", "111.5"]
    assert lines[-3:] == [
        "parameters     138,365,992 trained, 8,448 not",
        "multiply-adds  15,470,264,320 an image",
        "memory         850.35 MB for a batch of 1: input 0.57 MB, forward and backward 321.95 MB, "
        "parameters 527.82 MB",
    ]
    rows = lines[2 : lines.index("", 2)]
    assert len(rows) == 2 + 13 * 3 + 5 + 7
    assert len({len(row) for row in rows}) == 1  # every column ends where its head does


def test_the_command_takes_what_changes_a_network(capsys):
    words = ("--num-classes=10", "--in-channels=1", "--image-size=64", "--batch-size=4", "--json")
    assert run("summary", "alexnet", *words) == 0
    record = json.loads(capsys.readouterr().out)
    summary = summarize(models.AlexNet(num_classes=10), (64, 64, 1), 4, name="alexnet")
    assert record == json.loads(json.dumps(summary.record()))
    assert record["batch_size"] == 4
    assert record["layers"][0]["field"] == {
        "size": [11, 11],
        "stride": [4, 4],
        "offset": [3.0, 3.0],
    }
    assert run("summary", "googlenet", "--image-size=64") == 0
    assert "A layer marked * is computed in training alone." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["vgg17"], "there is no model 'vgg17'; did you mean 'vgg19'?"),
        (["vgg16", "--image-size=16"], "images of 16 x 16 are too small for this VGG: give 32 x"),
        (["vgg16", "--image-size=0"], "--image-size must be 1 or more, not 0."),
        (["vgg16", "--batch-size=0"], "in a batch of 0: all must be 1 or more."),
        (["vgg16", "--weights=x"], "there is no option '--weights'"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys):
    assert run("summary", *words) == 2
    assert sentence in capsys.readouterr().err
