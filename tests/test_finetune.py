"""The recipe that fine-tunes: from a file of weights and folders of pictures to the result."""

import contextlib
import io
import json
from pathlib import Path

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from experiments import run as experiment
from experiments import vgg_imagenet
from experiments.finetune import RECIPE
from jaxcnn import models
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import save_weights
from jaxcnn.training.checkpoint_reading import read_variables

MODEL = models.create_model("vgg11_bn", num_classes=3, width=4, hidden=(8,), pooled_size=1)
NORMALISATION = Preprocessing(mean=(120.0, 110.0, 100.0), std=(60.0, 61.0, 62.0))
CLASSES = ("blue", "red")
HEAD = "logits"


pytestmark = pytest.mark.usefixtures("compile_quickly")


@pytest.fixture(scope="module")
def variables():
    """Those of a network that has seen more than its initialisation."""
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    random = np.random.default_rng(0)

    def drawn(path, leaf):
        kind = path[-1].key
        value = random.normal(size=leaf.shape).astype(np.float32)
        if kind == "kernel":
            return value * np.sqrt(2 / np.prod(leaf.shape[:-1])).astype(np.float32)
        return abs(value) * 0.2 + 0.9 if kind in ("scale", "var") else value * 0.1

    return jax.tree_util.tree_map_with_path(drawn, shapes)


@pytest.fixture(scope="module")
def files(tmp_path_factory, variables):
    """The folder of the weights and of reddish and bluish pictures."""
    root = tmp_path_factory.mktemp("files")
    named = {"preprocessing": NORMALISATION, "class_names": ("cat", "dog", "fox")}
    save_weights(root / "weights.safetensors", MODEL, variables, **named)
    save_weights(root / "bare.safetensors", MODEL, variables)
    random = np.random.default_rng(1)
    for split, count in (("train", 8), ("validation", 4)):
        for label, kind in enumerate(CLASSES):
            (root / "pictures" / split / kind).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (36, 40, 3), np.uint8)
                pixels[..., 0 if label else 2] += 120
                Image.fromarray(pixels).save(root / "pictures" / split / kind / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(recipe, *arguments, status=0):
    """A command of the recipe, where of an option given twice the last holds, and its streams."""
    options = {argument.partition("=")[0]: argument for argument in arguments}
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        assert experiment.main(recipe, list(options.values())) == status, errors.getvalue()
    return output.getvalue(), errors.getvalue()


def finetune(files, *arguments, **options):
    return call(
        RECIPE,
        f"--config.model.weights={files}/weights.safetensors",
        f"--config.data.source={files}/pictures",
        "--config.model.name=vgg11_bn",
        "--config.data.image_size=32",
        "--config.augment.scale_min=32",
        "--config.augment.scale_max=32",
        "--config.train.batch_size=8",
        "--config.train.epochs=1",
        "--config.eval.batch_size=8",
        "--config.parallel.devices=2",
        "--config.data.threads=2",
        *arguments,
        **options,
    )


def without_head(tree):
    return {layer: value for layer, value in tree.items() if layer != HEAD}


def meta(workdir):
    (path,) = (workdir / "best").glob("[0-9]*/meta")
    return ocp.JsonCheckpointHandler().restore(path)


def eval_losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "eval"]


def test_the_head_alone(files, variables, place):
    options = ("--config=head", "--config.optimizer.ema=0.5")
    output, _ = finetune(files, *options, "--config.train.epochs=5")
    workdir = place / "runs/finetune/head"
    assert f"Weights of {files}/weights.safetensors: a new head of 2 classes" in output
    assert "normalised as for these weights: RGB, mean 120, 110, 100, standard" in output
    assert Preprocessing.from_json(meta(workdir)["preprocessing"]) == NORMALISATION
    assert not (workdir / "statistics.json").exists()
    result = json.loads((workdir / "result.json").read_text())
    assert set(result["classes"]) == set(CLASSES)
    assert result["examples"] == 8
    assert eval_losses(workdir)[-1] < eval_losses(workdir)[0]
    # The state has a gap where the optimizer's of frozen layers would be, and goes on all the same.
    more = ("--config.train.epochs=6", "--config.resume=force")
    output, _ = finetune(files, *options, *more)
    assert "Continuing from step 10." in output
    assert "Weights of" not in output
    after = read_variables(workdir)
    assert after["params"][HEAD]["kernel"].shape == (8, 2)
    chex.assert_trees_all_equal(without_head(after["params"]), without_head(variables["params"]))
    chex.assert_trees_all_equal(after["batch_stats"], variables["batch_stats"])


def test_all_layers_and_then_the_head_of_what_that_gave(files, variables, place):
    finetune(files, "--config=all", "--config.parallel=pmap")
    before = read_variables(place / "runs/finetune/all")
    for layer, trained in without_head(before["params"]).items():
        name = "scale" if layer.startswith("bn") else "kernel"
        assert np.any(trained[name] != variables["params"][layer][name]), layer
    mean = lambda v: v["batch_stats"]["bn1_1"]["mean"]  # noqa: E731
    assert not np.array_equal(mean(before), mean(variables))
    assert "This run is finished." in finetune(files, "--config=all", "--config.parallel=pmap")[0]
    # What changes the numbers is refused.
    _, errors = finetune(files, "--config=all", "--config.optimizer.freeze=conv.*", status=2)
    assert "optimizer.freeze: None -> conv.*" in errors

    finetune(
        files,
        "--config=head",
        "--config.model.weights=None",
        "--config.model.initialize_from=runs/finetune/all",
        "--config.model.width=4",
        "--config.model.hidden=8",
        "--config.model.pooled_size=1",
        "--config.data.normalization=mean_std",
    )
    after = read_variables(place / "runs/finetune/head")
    chex.assert_trees_all_equal(without_head(after["params"]), without_head(before["params"]))
    chex.assert_trees_all_equal(after["batch_stats"], before["batch_stats"])


def test_a_head_of_as_many_other_classes_is_new_and_one_of_the_same_is_kept(
    files, variables, place
):
    smaller = MODEL.clone(num_classes=2)
    head = {name: value[..., :2] for name, value in variables["params"][HEAD].items()}
    params = {**variables["params"], HEAD: head}
    for names, is_new in ((("cat", "dog"), True), (CLASSES, False)):
        save_weights(
            place / "two.safetensors",
            smaller,
            {**variables, "params": params},
            preprocessing=NORMALISATION,
            class_names=names,
        )
        output, _ = finetune(
            files,
            "--config.model.weights=two.safetensors",
            "--config.optimizer.learning_rate=1e-30",  # at which nothing but a zero moves
            "--config.restart=True",
        )
        assert ("a new head" in output) == is_new
        kernel = read_variables(place / "runs/finetune/head")["params"][HEAD]["kernel"]
        assert np.array_equal(kernel, head["kernel"]) != is_new


def test_weights_without_a_normalisation_take_that_of_the_configuration(files, place):
    bare = f"--config.model.weights={files}/bare.safetensors"
    _, errors = finetune(files, bare, status=2)
    assert "does not say how images were normalised for it; give data.normalization." in errors
    output, _ = finetune(files, bare, "--config.data.normalization=mean_std")
    assert "normalised as" not in output
    workdir = place / "runs/finetune/head"
    statistics = json.loads((workdir / "statistics.json").read_text())
    assert meta(workdir)["preprocessing"]["mean"] == statistics["mean"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.data.normalization=mean"], "leave it to the file by"),
        (["--config.model.weights=None"], "--config.model.weights=FILE"),
        (["--config.model.weights=nowhere.safetensors"], "nowhere.safetensors"),
        (["--config.model.name=vgg16"], "vgg11_bn"),
        (["--config.model.width=8"], "bn1_1"),
        (["--config.model.initialize_from=runs"], "model.initialize_from"),
        (["--config.optimizer.freeze=stage1"], "conv1_1"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, words, files, place):
    _, errors = finetune(files, *arguments, status=2)
    assert errors.startswith("finetune: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert not (place / "runs").exists()


def test_weights_that_changed_their_normalisation_are_noticed(files, variables, place):
    weights = Path("weights.safetensors")
    for std, status in ((60.0, 0), (50.0, 2)):
        save_weights(
            weights, MODEL, variables, preprocessing=Preprocessing((128.0,) * 3, (std,) * 3)
        )
        _, errors = finetune(files, f"--config.model.weights={weights}", status=status)
    assert "has changed since it began (preprocessing: " in errors


def test_digits_starts_from_the_digits_run(place):
    small = (
        "--config=digits",
        "--config.parallel.devices=2",
        "--config.data.threads=2",
        "--config.model.width=4",
        "--config.model.hidden=8,8",
        "--config.data.train_split=train[:320]",
        "--config.data.eval_split=test[:100]",
        "--config.train.epochs=1",
    )
    _, errors = call(RECIPE, *small, status=2)
    assert "runs/vgg_imagenet/digits holds no whole checkpoint" in errors
    call(vgg_imagenet.RECIPE, *small)
    call(RECIPE, *small)
    before, after = (
        read_variables(place / "runs" / recipe / "digits")["params"]
        for recipe in ("vgg_imagenet", "finetune")
    )
    chex.assert_trees_all_equal(without_head(before), without_head(after))
    assert not np.array_equal(before[HEAD]["kernel"], after[HEAD]["kernel"])
