"""The first networks' recipes as their users run them, on few images, and LeNet-5's of 1998."""

import contextlib
import io
import json

import chex
import numpy as np
import pytest

from experiments import cnn_mnist, lenet_mnist
from experiments import run as experiment
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training.checkpoint_reading import read_variables
from jaxcnn.training.interruption import StopRequest

pytestmark = pytest.mark.usefixtures("compile_quickly")

FEW = (
    "--config.data.train_split=train[:40]",
    "--config.data.eval_split=test[:20]",
    "--config.data.threads=2",
    "--config.eval.batch_size=20",
    "--config.train.epochs=2",
)
LENET_1998 = (
    "--config=lenet_1998_digits",
    *FEW,
    "--config.train.batch_size=2",
    "--config.train.log_every=20",
    "--config.optimizer.curvature_examples=10",
)
ONE = "--config.parallel.devices=1"


def run(recipe, *arguments, status=0):
    """What a command wrote to stdout, or to stderr where it was refused."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        found = experiment.main(recipe, arguments)
    assert found == status, (output.getvalue(), errors.getvalue())
    return errors.getvalue() if status == 2 else output.getvalue()


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize(
    ("recipe", "preset"), [(cnn_mnist.RECIPE, "digits"), (lenet_mnist.RECIPE, "digits")]
)
def test_a_digits_preset_runs(recipe, preset, tmp_path):
    arguments = (f"--config={preset}", *FEW, ONE, "--config.train.batch_size=8")
    output = run(recipe, *arguments, f"--config.workdir={tmp_path / 'run'}")
    assert "on the 20 images of digits test" in output
    assert "after 2 epochs (10 steps)" in output
    found = losses(tmp_path / "run")
    assert found[-1] < found[0]


def test_the_images_of_1998_are_what_the_paper_gives_the_network():
    """The background at -0.1, the ink at 1.175, 28 x 28 in the middle of 32 x 32."""
    preset = lenet_mnist.RECIPE.presets["lenet_1998"]
    preprocessing = Preprocessing.named(preset.data.normalization, 1)
    ends = preprocessing(np.array([0, 255], np.uint8).reshape(1, 2, 1, 1))
    np.testing.assert_allclose(ends.ravel(), [-0.1, 1.175], rtol=1e-6)
    assert (preset.data.image_size, preset.data.padding) == (32, 2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run of two epochs of 20 steps on one device."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(lenet_mnist.RECIPE, *LENET_1998, ONE, f"--config.workdir={workdir}")
    return workdir


@pytest.mark.parametrize("moment", [13, 20])
def test_a_stopped_run_goes_on_to_the_same_bits(moment, undisturbed, tmp_path, monkeypatch):
    """Within an epoch, with the curvature of its beginning, and between two epochs."""
    arguments = (*LENET_1998, ONE, f"--config.workdir={tmp_path / 'run'}")
    asked = iter(range(10_000))
    with monkeypatch.context() as patch:
        # It is asked before each step, and before the one batch of each evaluation.
        patch.setattr(StopRequest, "reached", lambda self: next(asked) == moment + (moment >= 20))
        output = run(lenet_mnist.RECIPE, *arguments, status=75)
    assert f"Stopped at step {moment}; the same command" in output
    run(lenet_mnist.RECIPE, *arguments)
    ours, theirs = (
        (path / "metrics.jsonl").read_bytes() for path in (tmp_path / "run", undisturbed)
    )
    assert ours == theirs
    chex.assert_trees_all_equal(read_variables(tmp_path / "run"), read_variables(undisturbed))


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.full)])
def test_the_curvature_is_the_same_on_two_devices(mode, undisturbed, tmp_path):
    devices = ("--config.parallel.devices=2", f"--config.parallel.mode={mode}")
    workdir = tmp_path / "run"
    run(lenet_mnist.RECIPE, *LENET_1998, *devices, f"--config.workdir={workdir}")
    np.testing.assert_allclose(losses(workdir), losses(undisturbed), rtol=1e-4)
    chex.assert_trees_all_close(
        read_variables(workdir), read_variables(undisturbed), rtol=1e-3, atol=1e-5
    )


def test_the_loss_falls(undisturbed):
    assert losses(undisturbed)[-1] < losses(undisturbed)[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--config.optimizer.curvature_examples=41", ONE),
            "optimizer.curvature_examples=41 are more than the 40 training images; give at most",
        ),
        (
            ("--config.train.batch_size=1", "--config.parallel.devices=2"),
            "train.batch_size=1 cannot be divided over 2 devices; give a multiple of 2, such as 2, "
            "or fewer devices by parallel.devices.",
        ),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, sentence, tmp_path):
    given = {a.partition("=")[0]: a for a in (*LENET_1998, *arguments)}
    workdir = tmp_path / "run"
    errors = run(lenet_mnist.RECIPE, *given.values(), f"--config.workdir={workdir}", status=2)
    assert sentence in errors
    assert not workdir.exists()
