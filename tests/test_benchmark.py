"""The benchmark measures what it says: the figures fit one another, and mistakes get a sentence."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import benchmark
from jaxcnn.cli.exit_status import run_main
from jaxcnn.models import create_model, features

SMALL = ["--model=vgg_small", "--image_size=128", "--num_classes=10", "--rounds=2", "--steps=1"]


def parameters(model, size):
    """The shapes of a network's parameters."""
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


def multiply_adds(name, size):
    """Those of the convolutions and fully connected layers for one image."""
    model = create_model(name, num_classes=10)
    params, images = parameters(model, size), jnp.zeros((1, size, size, 3))
    total = 0
    for layer, tensors in params.items():
        run = functools.partial(features, model, names=(layer,))
        output = jax.eval_shape(run, {"params": params}, images=images)[layer]
        total += np.prod(output.shape[1:-1], dtype=int) * np.prod(tensors["kernel"].shape)
    return total


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_the_figures_fit_one_another(mode, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(benchmark._PEAK_SIDE, "cpu", 256)
    output = tmp_path / "speed.json"
    arguments = [*SMALL, "--devices=2", "--batch_size=2", f"--mode={mode}", f"--output={output}"]
    assert run_main(benchmark.main, "benchmark", arguments) == 0
    result = json.loads(output.read_text())
    assert result["images_per_second"] == pytest.approx(2 * result["steps_per_second"])
    slowest, fastest = result["images_per_second_slowest"], result["images_per_second_fastest"]
    assert slowest <= result["images_per_second"] <= fastest
    share = result["gigaflop_per_second"] / result["matrix_product_gigaflop_per_second"]
    assert result["share_of_peak"] == pytest.approx(share)
    assert result["compile_seconds"] > 0
    # Two operations for each multiply-add forwards, and twice that again backwards; XLA leaves out
    # those with the zeros of the padding, which are few on large maps.
    expected = 2 * 2 * multiply_adds("vgg_small", 128) * (3 if mode == "train" else 1)
    assert result["gigaflop_per_step"] * 1e9 == pytest.approx(expected, rel=0.15)
    printed = capsys.readouterr().out
    params = parameters(create_model("vgg_small", num_classes=10), 128)
    # Of two devices each sends as many bytes as it sums: the gradients, and a few single numbers.
    gradients = 4 * sum(x.size for x in jax.tree.leaves(params)) if mode == "train" else 0
    assert gradients < result["step_exchanged_bytes"] < gradients + 1024
    words = ("steps/s", "images/s", "compile time", "peak memory", "exchanged", "share of peak")
    for word in words:
        assert word in printed


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("--model=vgg15", "vgg1"),
        ("--image_size=16", "32"),
        ("--batch_size=0", "--batch_size"),
        ("--batch_size=3", "--batch_size=3"),
        ("--devices=99", "parallel.devices"),
    ],
)
def test_a_mistake_is_one_sentence(argument, word, capsys):
    assert run_main(benchmark.main, "benchmark", [*SMALL, argument]) == 2
    errors = capsys.readouterr().err
    assert word in errors
    assert errors.count("\n") == 1
