"""Every recipe as its users run it: from the published files to the result, on small data."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_sets import (
    CIFAR10_CLASSES,
    STL10_CLASSES,
    SYNSETS,
    as_tfrecord,
    write_cifar10,
    write_mnist,
    write_stl10,
)
from PIL import Image
from recipe_runs import (
    DEVICES,
    NARROW,
    SHORT,
    SMALL,
    WIDTH,
    Ran,
    assert_consistent,
    metrics,
    prepared,
    prepared_imagenet,
    result,
    run,
    write_pictures,
)
from recipes import RECIPES

from experiments import run as experiment
from experiments.images import augment_by
from jaxcnn.data.statistics import IMAGENET_STATISTICS
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training.checkpoint_reading import read_variables

DIGITS = (
    "--config=digits",
    *DEVICES,
    *NARROW,
    "--config.data.train_split=train[:320]",
    "--config.data.eval_split=test[:100]",
    "--config.train.batch_size=64",
    "--config.train.epochs=2",
)


def steps(folder):
    """The steps that a folder has checkpoints of."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


pytestmark = pytest.mark.usefixtures("compile_quickly")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder that commands are given in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ImageNet.


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """The options for 24 training and 11 validation images, prepared from the two tars."""
    return (
        prepared_imagenet(tmp_path_factory.mktemp("imagenet")),
        *SHORT,
        *NARROW,
        *SMALL,
        "--config.augment.scale_min=32",
        "--config.augment.scale_max=32",
    )


@pytest.fixture(scope="module")
def trained_d(imagenet, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "d"
    run("vgg_imagenet", "--config=d", *imagenet, f"--config.workdir={workdir}")
    return workdir


MODERN = ("--config.schedule.warmup_epochs=0.5", "--config.augment.eval_scale=32")


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        pytest.param("a_lrn", (), marks=pytest.mark.full),
        pytest.param("c", (), marks=pytest.mark.full),
        ("modern", MODERN),
    ],
)
def test_a_column_of_the_paper(preset, changes, imagenet, place):
    ran = run("vgg_imagenet", f"--config={preset}", *imagenet, *changes)
    assert ran.output.startswith("jaxcnn ")
    workdir = place / "runs" / "vgg_imagenet" / preset
    assert_consistent(workdir, ran, examples=11)
    assert set(result(workdir)["classes"]) > set(SYNSETS)
    assert result(workdir)["split"] == "imagenet2012 validation"
    # The published numbers are not computed again.
    assert json.loads((workdir / "statistics.json").read_text())["images"] == 1_281_167


@pytest.mark.full
def test_d_at_jittered_scale_from_an_earlier_d(trained_d, imagenet, place):
    ran = run(
        "vgg_imagenet",
        "--config=d_jitter",
        *imagenet,
        "--config.augment.scale_max=64",
        f"--config.model.initialize_from={trained_d}",
        "--config.optimizer.learning_rate=0.01",
    )
    workdir = place / "runs/vgg_imagenet/d_jitter"
    assert_consistent(workdir, ran, examples=11)
    config = json.loads((workdir / "config.json").read_text())
    assert (config["augment"]["scale_min"], config["augment"]["scale_max"]) == (32, 64)
    assert config["augment"]["color_shift"] == 0.1
    # It begins where the other ended.
    assert metrics(workdir, "train", "loss")[0] < metrics(trained_d, "train", "loss")[0]


def test_a_residual_network_for_steps_and_not_for_epochs(imagenet, place):
    ran = run(
        "resnet_imagenet",
        "--config=resnet18",
        *imagenet,
        "--config.model.hidden=None",
        "--config.augment.scale_max=64",
        "--config.augment.eval_scale=32",
        "--config.train.steps=4",  # of 3 an epoch
        "--config.train.exact_statistics=2",
    )
    workdir = place / "runs/resnet_imagenet/resnet18"
    assert_consistent(workdir, ran, examples=11)
    assert (result(workdir)["steps"], result(workdir)["epochs"]) == (4, pytest.approx(4 / 3))
    assert metrics(workdir, "eval", "step") == [3, 4]
    # The mean image, which nobody has published, is that of these images.
    assert json.loads((workdir / "statistics.json").read_text())["images"] == 24


def test_tfrecord_files_give_the_same_training_to_the_bit(trained_d, imagenet, place):
    data_dir = Path(imagenet[0].partition("=")[2])
    shutil.copytree(data_dir, place / "data")
    as_tfrecord(place / "data" / "imagenet2012" / "5.1.0")
    run("vgg_imagenet", "--config=d", *imagenet, f"--config.data.data_dir={place}/data")
    ours = (place / "runs/vgg_imagenet/d/metrics.jsonl").read_bytes()
    assert ours == (trained_d / "metrics.jsonl").read_bytes()


def test_b_starts_from_the_best_a(imagenet, place):
    """The paper's pre-initialisation, where the preset looks for A by itself."""
    run(
        "vgg_imagenet",
        "--config=a",
        *imagenet,
        "--config.train.epochs=2",
        "--config.optimizer.learning_rate=0.05",
        "--config.schedule.monitor=loss",  # of other classes than are trained on: it grows
    )
    a = place / "runs/vgg_imagenet/a"
    assert (steps(a / "best"), steps(a / "checkpoints")) == ([3], [3, 6])
    # At so small a rate no weight but a zero moves: they stay those of the beginning.
    run("vgg_imagenet", "--config=b_from_a", *imagenet, "--config.optimizer.learning_rate=1e-30")
    b = place / "runs/vgg_imagenet/b_from_a"
    ours, theirs = (read_variables(workdir)["params"] for workdir in (b, a))
    taken = {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "logits"}
    for layer in taken:
        chex.assert_trees_all_close(ours[layer], theirs[layer], rtol=0, atol=1e-25)
        assert np.any(abs(ours[layer]["bias"]) > 1e-9)  # trained
    for layer in theirs.keys() - taken:
        assert ours[layer]["kernel"].shape == theirs[layer]["kernel"].shape
        assert not np.any(ours[layer]["kernel"] == theirs[layer]["kernel"]), layer
    assert ours.keys() - theirs.keys() == {"conv1_2", "conv2_2"}
    shutil.rmtree(a / "best")
    newest = read_variables(a)["params"]
    assert np.any(newest["conv1_1"]["kernel"] != theirs["conv1_1"]["kernel"])


def test_colours_are_shifted_in_training_alone():
    config = RECIPES["vgg_imagenet"].presets["d"]
    plain = Preprocessing.named("mean", 3, IMAGENET_STATISTICS)
    images = jnp.full((2, 4, 4, 3), 100, jnp.uint8)
    batch = {"image": images, "index": jnp.arange(2), "label": jnp.array([3, 1])}
    train = augment_by(plain, config, IMAGENET_STATISTICS, num_classes=1000, axis_name=None)
    first, again, later = (train(batch, jnp.int32(step))[0] for step in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    shift = np.asarray(first - plain(images))
    assert np.ptp(shift, axis=(1, 2)).max() < 1e-4  # one shift for all pixels of an image
    assert np.abs(shift[0] - shift[1]).max() > 0.1
    assert np.abs(first - later).max() > 0.1


# The data sets that are downloaded.


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """Files as published, but for their size."""
    folder = tmp_path_factory.mktemp("downloads")
    write_stl10(folder, of_each_split=20)
    write_cifar10(folder)
    write_mnist(folder, train=30, test=10)
    return folder


def classes_printed(output):
    table = output.partition("Accuracy per class")[2].partition("Written to")[0]
    return tuple(line.split()[0] for line in table.splitlines()[1:])


@pytest.mark.parametrize(
    ("name", "changes", "classes", "examples"),
    [
        ("stl10", SMALL, STL10_CLASSES, 20),
        pytest.param("cifar10", (), CIFAR10_CLASSES, 4, marks=pytest.mark.full),
        ("mnist", (), tuple("0123456789"), 10),
    ],
)
def test_the_command_that_prepare_proposes(
    name, changes, classes, examples, downloads, place, monkeypatch
):
    recipe, options = prepared(name, downloads, monkeypatch)
    warmup = "--config.schedule.warmup_epochs=0.5"
    ran = run(recipe, *options, *SHORT, *WIDTH, *changes, warmup)
    (workdir,) = (place / "runs" / recipe).iterdir()
    assert_consistent(workdir, ran, examples=examples)
    assert classes_printed(ran.output) == classes
    # The average recipe of STL-10 maps to [-1, 1], whatever the images are.
    assert (workdir / "statistics.json").exists() == (name != "stl10")


def test_cifar10_by_the_paper_of_residual_networks(downloads, place, monkeypatch):
    """Of 20 training images 2 are held out; the 4 test images are seen once, at the end."""
    prepared("cifar10", downloads, monkeypatch)
    ran = run(
        "resnet_cifar10",
        "--config=resnet20",
        *SHORT,
        *WIDTH,
        "--config.train.steps=5",
        "--config.train.log_every=1",
        "--config.schedule.milestones=2,4",
    )
    workdir = place / "runs/resnet_cifar10/resnet20"
    assert_consistent(workdir, ran, examples=2)
    assert classes_printed(ran.output) == CIFAR10_CLASSES
    rates = metrics(workdir, "train", "learning_rate")
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01, 0.001], rtol=1e-6)
    test = result(workdir)["test"]
    assert (test["split"], test["examples"]) == ("cifar10 test", 4)
    assert json.loads((workdir / "statistics.json").read_text())["images"] == 18


@pytest.mark.full
def test_stl10_with_batch_norm(downloads, place, monkeypatch):
    recipe, _ = prepared("stl10", downloads, monkeypatch)
    batch = "--config.train.batch_size=4"  # the preset's own
    ran = run(recipe, "--config=bn", *SHORT, *NARROW, *SMALL, batch)
    workdir = place / "runs/vgg_stl10/bn"
    assert_consistent(workdir, ran, examples=20)
    assert classes_printed(ran.output) == STL10_CLASSES
    statistics = json.loads((workdir / "statistics.json").read_text())
    assert statistics["images"] == 20
    assert all(100 < mean < 155 for mean in statistics["mean"])  # of noise, in grey levels


# The user's own pictures and files.


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "dogs")


@pytest.mark.parametrize(
    ("recipe", "preset", "split", "examples"),
    [
        ("vgg_small", "pictures", "validation", 6),
        pytest.param("vgg_imagenet", "digits", "test", 10, marks=pytest.mark.full),
    ],
)
def test_folders_of_pictures(recipe, preset, split, examples, pictures, place):
    ran = run(
        recipe,
        f"--config={preset}",
        f"--config.data.source={pictures}",
        f"--config.data.eval_split={split}",
        *SHORT,
        *NARROW,
        *SMALL,
    )
    workdir = place / "runs" / recipe / preset
    assert_consistent(workdir, ran, examples=examples)
    assert set(result(workdir)["classes"]) == {"German shepherd", "poodle"}
    assert result(workdir)["top5"] == 1  # of two classes
    assert "after 1 epoch (2 steps)" in ran.output


def test_a_configuration_file_of_the_users(place):
    (place / "my.py").write_text(
        """
import dataclasses

from experiments.vgg_imagenet import RECIPE

digits = RECIPE.presets["digits"]
config = dataclasses.replace(digits, model=dataclasses.replace(digits.model, dropout=0.0))
"""
    )
    run("vgg_imagenet", *DIGITS, "--config=my.py", "--config.model.hidden=8,8")
    workdir = place / "runs/vgg_imagenet/my"
    config = json.loads((workdir / "config.json").read_text())
    assert (config["model"]["dropout"], config["model"]["hidden"]) == (0.0, [8, 8])
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), pytest.raises(SystemExit):
        experiment.main(RECIPES["vgg_imagenet"], ["--config=my.py", "--help"])
    assert "The defaults are those of --config=my.py" in help_text.getvalue()


# What a run leaves, and what becomes of it afterwards.


@pytest.fixture(scope="module")
def ran_digits(tmp_path_factory):
    """A finished run of two epochs, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    return workdir, run("vgg_imagenet", *DIGITS, f"--config.workdir={workdir}")


@pytest.fixture
def finished(ran_digits, place):
    """A copy of it where the command looks for it."""
    workdir = place / "runs/vgg_imagenet/digits"
    shutil.copytree(ran_digits[0], workdir)
    return workdir


def test_what_a_run_leaves(ran_digits):
    workdir, ran = ran_digits
    assert_consistent(workdir, ran, examples=100)
    folders = {"checkpoints", "best", "tensorboard"}
    files = {"config", "data", "result", "statistics"}
    assert {path.name for path in workdir.iterdir()} == (
        folders
        | {f"{name}.json" for name in files}
        | {"metrics.jsonl", "timings.jsonl", "curves.png", "batch.png"}
    )
    assert steps(workdir / "checkpoints") == [5, 10]
    assert re.fullmatch(
        r"jaxcnn \S+: vgg_imagenet digits on cpu \(2 devices, 1 process\); "
        rf"work directory {re.escape(str(workdir))}",
        ran.output.splitlines()[0],
    )
    named = ran.output.partition("Written to")[2]
    for name in folders | {"metrics.jsonl", "curves.png", "batch.png", "result.json"}:
        assert f"\n  {name} " in named
    assert classes_printed(ran.output) == tuple("0123456789")
    assert result(workdir)["epochs"] == 2
    assert result(workdir)["versions"]["jax"] == jax.__version__
    *lines, last = map(json.loads, (workdir / "timings.jsonl").read_text().splitlines())
    assert all(line["images_per_second"] > 0 for line in lines)
    goodput = result(workdir)["goodput"]["seconds"]
    assert goodput.keys() == last["spent"].keys()
    assert all(seconds <= goodput[name] + 0.001 for name, seconds in last["spent"].items())
    assert "\nGoodput: " in ran.output
    assert any((workdir / "tensorboard").iterdir())


@pytest.mark.parametrize("name", ["curves.png", "batch.png"])
def test_the_pictures_show_something(name, ran_digits):
    with Image.open(ran_digits[0] / name) as image:
        image.load()
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert 0.01 < np.mean(pixels != 255) < 0.99


def test_a_finished_run_is_shown_again(finished, ran_digits):
    before = contents(finished)
    ran = run("vgg_imagenet", *DIGITS)
    assert "This run is finished." in ran.output
    of_the_run, shown = (
        r.output.partition("Result:")[2].partition("Written to")[0] for r in (ran_digits[1], ran)
    )
    assert shown == of_the_run
    assert contents(finished) == before


def test_restart_begins_anew_and_keeps_the_old_run(finished):
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    run("vgg_imagenet", *DIGITS, "--config.restart=True")
    (renamed,) = (path for path in finished.parent.iterdir() if path != finished)
    assert re.fullmatch(r"digits\.\d{8}-\d{6}", renamed.name)
    assert {path.name: path.read_bytes() for path in renamed.iterdir() if path.is_file()} == before
    assert (renamed / "best").is_dir()
    after = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert after.keys() == before.keys()
    assert after["metrics.jsonl"] == before["metrics.jsonl"]
    assert after["timings.jsonl"] != before["timings.jsonl"]


def test_a_forced_change_goes_on_from_where_the_run_was(finished):
    changes = ("--config.train.epochs=3", "--config.optimizer.learning_rate=0.25")
    before = contents(finished)
    refused = run("vgg_imagenet", *DIGITS, *changes, status=2)
    assert "optimizer.learning_rate: 0.001 -> 0.25; train.epochs: 2 -> 3" in refused.errors
    assert contents(finished) == before
    old = (finished / "metrics.jsonl").read_bytes()
    ran = run("vgg_imagenet", *DIGITS, *changes, "--config.resume=force")
    assert "Continuing from step 10." in ran.output
    assert (finished / "metrics.jsonl").read_bytes().startswith(old)
    assert metrics(finished, "eval", "epoch") == [1, 2, 3]
    assert 0.001 < metrics(finished, "train", "learning_rate")[-1] < 0.25
    assert_consistent(finished, ran, examples=100)
    config = json.loads((finished / "config.json").read_text())
    assert config["optimizer"]["learning_rate"] == 0.25


def test_a_loss_that_blows_up(finished):
    changes = ("--config.train.epochs=3", "--config.optimizer.learning_rate=1e6")
    limit = "--config.train.max_nonfinite=2"
    ran = run("vgg_imagenet", *DIGITS, *changes, limit, "--config.resume=force", status=2)
    *_, norms, sentence = ran.errors.splitlines()
    assert ": norms of the parameters: " in norms
    for layer in ("conv1_1", "conv5_2", "fc6", "fc7", "logits"):
        assert f"{layer}/kernel " in norms
    assert sentence.startswith(
        "vgg_imagenet: at step 13 the loss or a gradient was not finite for 2 updates in a row "
    )
    assert steps(finished / "checkpoints") == [5, 10]
    assert steps(finished / "best")


# Optimizers and schedules that no run above has, on the digits.


@pytest.mark.parametrize(
    ("optimizer", "schedule", "rates"),
    [
        # Of each epoch's last step, in units of a rate too small to improve anything.
        ("paper_momentum", ("kind=plateau", "patience=1", "early_stopping=2"), [1, 1, 0.1]),
        pytest.param(
            "adamw", ("kind=constant", "warmup_epochs=2"), [0.4, 0.9, 1], marks=pytest.mark.full
        ),
    ],
)
def test_an_optimizer_and_a_schedule(optimizer, schedule, rates, place):
    stops_early = "early_stopping=2" in schedule
    command = (
        "vgg_imagenet",
        *DIGITS,
        f"--config.train.epochs={9 if stops_early else 3}",
        f"--config.optimizer.name={optimizer}",
        "--config.optimizer.learning_rate=1e-20",
        "--config.schedule.warmup_epochs=0",
        *(f"--config.schedule.{option}" for option in schedule),
    )
    ran = run(*command)
    workdir = place / "runs/vgg_imagenet/digits"
    assert_consistent(workdir, ran, examples=100)
    used = np.array(metrics(workdir, "train", "learning_rate")) / 1e-20
    np.testing.assert_allclose(used, rates, atol=1e-3)
    assert "after 3 epochs (15 steps)" in ran.output
    assert "after epoch 1." in ran.output  # the best
    assert "This run is finished." in run(*command).output


HELD_OUT = ("--config.data.eval_split=train[320:400]", "--config.data.test_split=test[:100]")


def test_a_test_split_is_for_the_last_state_alone(place):
    ran = run("vgg_imagenet", *DIGITS, *HELD_OUT)
    workdir = place / "runs/vgg_imagenet/digits"
    assert_consistent(workdir, ran, examples=80)
    found = result(workdir)
    test = found["test"]
    assert (test["split"], test["examples"], test["skipped"]) == ("digits test[:100]", 100, 0)
    of_classes = {name: each["correct"] for name, each in test["classes"].items()}
    assert test["accuracy"] == sum(of_classes.values()) / 100
    assert f"Test: top-1 accuracy {test['accuracy']:.2%}" in ran.output
    assert "Accuracy per class, digits test[:100]:" in ran.output
    assert len(metrics(workdir, "eval", "loss")) == 2
    # Killed when all was done but for the result, it finds the same; then it is finished.
    (workdir / "result.json").unlink()
    again = run("vgg_imagenet", *DIGITS, *HELD_OUT)
    assert "Continuing from step 10." in again.output
    assert result(workdir)["test"] == test
    shown = run("vgg_imagenet", *DIGITS, *HELD_OUT)
    assert "This run is finished." in shown.output
    assert f"Test: top-1 accuracy {test['accuracy']:.2%}" in shown.output


@pytest.mark.full
def test_the_loss_is_that_of_the_evaluation_and_smoothed_in_training_alone(place):
    workdir = place / "runs/vgg_imagenet/digits"
    # The network stays what it is.
    standing = ("--config.optimizer.learning_rate=1e-30", "--config.train.steps=4")

    def losses(*changes):
        """In training and in the evaluation."""
        run("vgg_imagenet", *DIGITS, *standing, "--config.restart=True", *changes)
        return [metrics(workdir, kind, "loss") for kind in ("epoch", "eval")]

    plain = losses()
    smoothed = losses("--config.train.label_smoothing=0.9")
    distances = losses("--config.train.loss=map")
    assert smoothed[1] == plain[1]
    assert smoothed[0] != plain[0]
    # One more term in the sum: more by less than log 2.
    for ours, without in zip(distances, plain, strict=True):
        assert 0 < ours[0] - without[0] < np.log(2)
    assert result(workdir)["epochs"] == 0.8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("--config.train.exact_statistics=3", "and model.name=vgg11 has none"),
        ("--config.optimizer.decay_layers=cnv.*", "optimizer.decay_layers=cnv.* matches no layer"),
        ("--config.data.test_split=test[:0]", "test[:0]"),
    ],
)
def test_what_does_not_fit_the_network_is_one_sentence(change, sentence, place):
    ran = run("vgg_imagenet", *DIGITS, change, status=2)
    assert sentence in ran.errors
    assert "Traceback" not in ran.errors
    assert not (place / "runs").exists()


@pytest.mark.full
def test_bfloat16_and_averaged_parameters(ran_digits, place):
    changes = ("--config.model.dtype=bfloat16", "--config.optimizer.ema=0.9999")
    ran = run("vgg_imagenet", *DIGITS, *changes)
    workdir = place / "runs/vgg_imagenet/digits"
    assert_consistent(workdir, ran, examples=100)
    for leaf in jax.tree.leaves(read_variables(workdir)["params"]):
        assert leaf.dtype == np.float32
    ours, float32 = (metrics(w, "train", "loss") for w in (workdir, ran_digits[0]))
    assert ours != float32
    np.testing.assert_allclose(ours, float32, rtol=0.02)
    # The average has hardly left the beginning, and it is what is evaluated.
    averaged, plain = (metrics(w, "eval", "loss") for w in (workdir, ran_digits[0]))
    assert np.ptp(averaged) < 1e-3 < np.ptp(plain)


def test_a_real_process_says_nothing_but_what_it_should(ran_digits, place):
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(Path(os.environ["JAXCNN_CACHE"]) / "xla"),
    }
    process = subprocess.run(
        [sys.executable, "-m", "experiments.vgg_imagenet", *dict.fromkeys(DIGITS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    number = r"\d+\.\d+"
    line = rf"training loss {number}, evaluation loss {number}, top-1 accuracy {number}%\n"
    assert re.fullmatch(f"epoch 1: {line}epoch 2: {line}", process.stderr), process.stderr
    workdir = place / "runs/vgg_imagenet/digits"
    assert_consistent(workdir, Ran(0, process.stdout, process.stderr), examples=100)
    ours, theirs = ((w / "metrics.jsonl").read_bytes() for w in (workdir, ran_digits[0]))
    assert ours == theirs
