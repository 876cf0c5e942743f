"""A recipe's command on small data, run within the tests' process, and what it leaves."""

import contextlib
import dataclasses
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
from data_sets import imagenet_images, write_imagenet
from PIL import Image
from recipes import RECIPES
from tensorflow_datasets.core.download import download_manager
from tensorflow_datasets.image_classification import mnist

from experiments import prepare
from experiments import run as experiment
from jaxcnn.cli.exit_status import run_main

# A network, images and a training so small that a run takes seconds.
DEVICES = ("--config.parallel.devices=2", "--config.data.workers=0", "--config.data.threads=2")
SHORT = (*DEVICES, "--config.train.epochs=1", "--config.train.batch_size=8")
WIDTH = ("--config.model.width=4",)
NARROW = (*WIDTH, "--config.model.hidden=8,8", "--config.model.pooled_size=1")
SMALL = ("--config.data.image_size=32", "--config.eval.batch_size=8")


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command did: its exit status, and what it wrote to each stream."""

    status: int
    output: str
    errors: str


def called(main, *arguments):
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(*arguments)
    return Ran(status, output.getvalue(), errors.getvalue())


def run(recipe, *arguments, status=0):
    """A recipe's command, where of an option that is given twice the last holds."""
    options = {argument.partition("=")[0]: argument for argument in arguments}
    ran = called(experiment.main, RECIPES[recipe], list(options.values()))
    assert ran.status == status, ran
    return ran


def result(workdir):
    return json.loads((Path(workdir) / "result.json").read_text())


def metrics(workdir, kind, name):
    lines = map(json.loads, (Path(workdir) / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if line["kind"] == kind]


def photograph(value, mode="RGB", image_format="jpeg"):
    """Noise of 40 x 48 pixels."""
    shape = (40, 48) if mode == "L" else (40, 48, len(mode))
    pixels = np.random.default_rng(value).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, image_format)
    return file.getvalue()


def prepared_imagenet(folder):
    """The option for 24 training and 11 validation images, prepared from the two tars."""
    write_imagenet(folder, imagenet_images(photograph))
    options = [f"--manual_dir={folder}", f"--data_dir={folder}/data"]
    ran = called(run_main, prepare.main, "prepare", ["imagenet2012", *options])
    assert ran.status == 0, ran
    return f"--config.data.data_dir={folder}/data"


def write_pictures(root):
    """Two kinds of pictures, one with a space in its name, in ``train``, ``val`` and ``test``."""
    for split, count in (("train", 8), ("val", 3), ("test", 5)):
        for kind in ("German shepherd", "poodle"):
            (root / split / kind).mkdir(parents=True)
            for number in range(count):
                path = root / split / kind / f"{number}.jpg"
                path.write_bytes(photograph(number + len(kind)))
    return root


def prepared(name, downloads, monkeypatch):
    """The words of the command that ``experiments.prepare`` ends with."""
    monkeypatch.setattr(
        download_manager.DownloadManager,
        "_register_or_validate_checksums",
        lambda self, url, url_info, path: None,
    )
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 30)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 10)
    monkeypatch.setenv("TFDS_DATA_DIR", str(downloads / "data"))
    ran = called(run_main, prepare.main, "prepare", [name, f"--manual_dir={downloads}"])
    assert ran.status == 0, ran
    (command,) = re.findall(r"^Train on it: (.*)$", ran.output, re.MULTILINE)
    python, flag, module, *options = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    return module.removeprefix("experiments."), options


def assert_consistent(workdir, ran, examples):
    """The result agrees with itself, with the records and with what was printed."""
    found = result(workdir)
    assert (found["examples"], found["skipped"]) == (examples, 0)
    classes = found["classes"].values()
    assert sum(each["count"] for each in classes) == examples
    assert found["accuracy"] == sum(each["correct"] for each in classes) / examples
    for each in classes:
        assert each["accuracy"] == (each["correct"] / each["count"] if each["count"] else None)
    assert 0 <= found["accuracy"] <= found["top5"] <= 1
    for name in ("loss", "accuracy", "top5"):
        assert found[name] == metrics(workdir, "eval", name)[-1]
        assert found["best"][name] in metrics(workdir, "eval", name)
    assert np.all(np.isfinite(metrics(workdir, "train", "loss")))
    assert found["epochs"] == metrics(workdir, "eval", "epoch")[-1]
    assert found["steps"] == metrics(workdir, "eval", "step")[-1]
    first, *_ = ran.output.splitlines()
    assert found["hardware"] in first
    assert f"top-1 accuracy {found['accuracy']:.2%}" in ran.output
    assert f"on the {examples} images of {found['split']}" in ran.output
