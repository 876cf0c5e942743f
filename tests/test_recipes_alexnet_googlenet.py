"""The recipes of AlexNet, ZFNet and GoogLeNet as their users run them, on small data."""

import json

import numpy as np
import pytest
from data_sets import CIFAR10_CLASSES, SYNSETS, write_cifar10
from recipe_runs import (
    NARROW,
    SHORT,
    WIDTH,
    assert_consistent,
    metrics,
    prepared,
    prepared_imagenet,
    result,
    run,
    write_pictures,
)

from jaxcnn.training.checkpoint_reading import read_variables

pytestmark = pytest.mark.usefixtures("compile_quickly")

# The first pools leave nothing of less.
SMALL = ("--config.data.image_size=64", "--config.eval.batch_size=8")
RESCALED = ("--config.augment.scale_min=72", "--config.augment.scale_max=72")
MODERN = ("--config.augment.eval_scale=72", "--config.schedule.warmup_epochs=0.5")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder that commands are given in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """The options for 24 training and 11 validation images in the published form."""
    return (prepared_imagenet(tmp_path_factory.mktemp("imagenet")), *SHORT)


@pytest.mark.parametrize(
    ("recipe", "preset", "changes"),
    [
        ("alexnet_imagenet", "paper", (*RESCALED, *NARROW)),
        pytest.param("alexnet_imagenet", "modern", (*MODERN, *NARROW), marks=pytest.mark.full),
        pytest.param("zfnet_imagenet", "large", (*RESCALED, *NARROW), marks=pytest.mark.full),
    ],
)
def test_imagenet(recipe, preset, changes, imagenet, place):
    ran = run(recipe, f"--config={preset}", *imagenet, *SMALL, *changes)
    workdir = place / "runs" / recipe / preset
    assert_consistent(workdir, ran, examples=11)
    assert set(result(workdir)["classes"]) > set(SYNSETS)
    # The mean image, which nobody has published, is that of these images.
    statistics = json.loads((workdir / "statistics.json").read_text())
    assert statistics["images"] == (1_281_167 if preset == "modern" else 24)


def test_the_filters_of_zfnet_stay_below_their_limit(imagenet, place):
    """He's initialisation draws those of the first layer above it."""
    he = "--config.model.initialization=he"
    ran = run("zfnet_imagenet", "--config=paper", *imagenet, *SMALL, *RESCALED, *NARROW, he)
    workdir = place / "runs/zfnet_imagenet/paper"
    assert_consistent(workdir, ran, examples=11)
    params = read_variables(workdir)["params"]
    rms = {
        name: np.sqrt(np.mean(np.square(layer["kernel"]), axis=(0, 1, 2)))
        for name, layer in params.items()
        if name.startswith("conv")
    }
    assert len(rms) == 5
    assert all(values.max() < 0.1 * (1 + 1e-5) for values in rms.values())
    assert rms["conv1"].max() > 0.1 * (1 - 1e-5)


@pytest.mark.full
def test_googlenet_by_the_paper(imagenet, place):
    ran = run(
        "googlenet_imagenet",
        "--config=paper",
        *imagenet,
        *WIDTH,
        "--config.data.image_size=32",
        "--config.augment.eval_scale=36",
        "--config.eval.batch_size=8",
        "--config.train.epochs=2",
        "--config.optimizer.polyak=1",
    )
    workdir = place / "runs/googlenet_imagenet/paper"
    assert_consistent(workdir, ran, examples=11)
    assert metrics(workdir, "eval", "epoch") == [1, 2]
    params = read_variables(workdir)["params"]
    for name in ("4a", "4d"):  # biases begin at zero
        assert np.any(np.asarray(params[f"aux_{name}"]["logits"]["bias"]))


@pytest.mark.full
def test_googlenet_by_the_source_on_folders_of_pictures(place):
    write_pictures(place / "pictures")
    ran = run(
        "googlenet_imagenet",
        "--config=source",
        *SHORT,
        *WIDTH,
        "--config.data.image_size=32",
        "--config.eval.batch_size=8",
    )
    workdir = place / "runs/googlenet_imagenet/source"
    assert_consistent(workdir, ran, examples=6)
    assert set(result(workdir)["classes"]) == {"German shepherd", "poodle"}
    assert not any(name.startswith("aux") for name in read_variables(workdir)["params"])


@pytest.mark.parametrize(
    ("preset", "norms"),
    [("source", "12345"), pytest.param("pool_bn", "125", marks=pytest.mark.full)],
)
def test_cifar10(preset, norms, place, monkeypatch):
    """Of 20 training images 4 are held out; the 4 test images are seen once, at the end."""
    write_cifar10(place)
    prepared("cifar10", place, monkeypatch)
    changes = (*SHORT, *WIDTH, "--config.model.hidden=8,8", "--config.data.image_size=67")
    ran = run("alexnet_cifar10", f"--config={preset}", *changes)
    workdir = place / "runs/alexnet_cifar10" / preset
    assert_consistent(workdir, ran, examples=4)
    found = result(workdir)
    assert (found["split"], found["steps"]) == ("cifar10 train[80%:]", 2)
    assert (found["test"]["split"], found["test"]["examples"]) == ("cifar10 test", 4)
    assert tuple(found["classes"]) == CIFAR10_CLASSES
    assert set(read_variables(workdir)["batch_stats"]) == {f"bn{number}" for number in norms}
    # What is watched is the loss with the penalty, which is more.
    (objective,) = metrics(workdir, "eval", "objective")
    assert objective > found["loss"]
