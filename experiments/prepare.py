# PYTHON_ARGCOMPLETE_OK
"""Prepares a data set for training: ``python -m experiments.prepare NAME``.

    python -m experiments.prepare imagenet2012 --manual_dir=FOLDER_OF_THE_TWO_TARS
    python -m experiments.prepare stl10
    python -m experiments.prepare cifar10 --data_dir=/data --manual_dir=FOLDER_OF_DOWNLOADS
    python -m experiments.prepare imagenet2012 --side=512
    python -m experiments.prepare imagenet2012 --side=256 --raw

It writes array_record files in TFDS's layout, which TFDS and every recipe here read, and does not
need TensorFlow. Stopped, it goes on when the same command is given again. ImageNet takes as long as
its disks take to read and write 145 GB, from hard disks much longer: images are read in the
shuffled order that they are written in.

With --side or --raw it is written once more, as data set NAME_side512, NAME_side256_raw, whose
images are read in less time. These are other images: a random part of a resized image is not that
part of the original, resized. --verify holds such a data set against its checksums.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import tensorflow_datasets as tfds

from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.data.preparation import prepare
from jaxcnn.data.prepared import default_data_dir, is_prepared, version_folder
from jaxcnn.data.resized import prepare_resized, resized_folder, verify_resized
from jaxcnn.data.resized_form import Form, original_name

_START_AGAIN = 75  # exit status

_RECIPES = {
    "digits": "experiments.vgg_imagenet --config=digits",
    "imagenet2012": "experiments.vgg_imagenet --config=d",
    "stl10": "experiments.vgg_stl10 --config=average",
    "cifar10": "experiments.vgg_cifar10 --config=vgg16_bn",
    "mnist": "experiments.vgg_mnist --config=vgg11_bn",
}

_IMAGENET = "train 1,281,167, validation 50,000"


def main(arguments: Sequence[str], output: Output) -> int:
    """Prepares what the command line asks for.

    Returns:
      The exit status: 0, or 75 when it was stopped.

    Raises:
      UserError: it cannot be prepared.
    """
    parser = Parser("python -m experiments.prepare", __doc__)
    parser.add_argument("name", help="imagenet2012, stl10, cifar10, mnist, ...")
    parser.add_argument(
        "--data_dir", help=f"where to put it (default: {default_data_dir()}; $TFDS_DATA_DIR)"
    )
    parser.add_argument(
        "--manual_dir", help="a folder with the files it is made from, downloaded by yourself"
    )
    parser.add_argument(
        "--side",
        type=int,
        help="write it once more, larger images reduced to so many pixels of the shorter side",
    )
    parser.add_argument(
        "--raw", action="store_true", help="write it once more, as pixels instead of JPEGs"
    )
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs that --side makes")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="only hold the files of --side, --raw against checksums",
    )
    options = parser.read(arguments)
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        name, folder = _prepare(options)
    except KeyboardInterrupt:
        print("\nprepare: stopped; give the same command again to continue.", file=sys.stderr)
        return _START_AGAIN
    finally:
        signal.signal(signal.SIGTERM, previous)
    output.result(
        {"name": name, "folder": str(folder), "images": _counts(folder)},
        _report(name, folder, options.data_dir),
    )
    return 0


def _prepare(options: argparse.Namespace) -> tuple[str, Path]:
    """Prepares, or verifies; gives the data set's name and its folder."""
    form = Form(options.side, options.raw, options.quality)
    resized = options.raw or options.side is not None or options.verify
    if resized:
        form.check()
    if not resized or not (options.verify or is_prepared(options.name, options.data_dir)):
        folder = prepare(options.name, options.data_dir, options.manual_dir)
    if not resized:
        return options.name, folder
    root = Path(options.data_dir or default_data_dir()).expanduser()
    if options.verify:
        folder = resized_folder(version_folder(options.name, options.data_dir), root, form)
        print(f"{verify_resized(folder)} files are as they were written.")
    else:
        folder = prepare_resized(options.name, options.data_dir, root, form)
    return "/".join(folder.relative_to(root).parts[:-1]), folder


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _counts(folder: Path) -> dict[str, int]:
    """The images of each split."""
    splits = tfds.builder_from_directory(folder).info.splits
    return {split: info.num_examples for split, info in splits.items()}


def _report(name: str, folder: Path, data_dir: str | None) -> str:
    """What is where, and how to train on it."""
    counts = ", ".join(f"{split} {count:,}" for split, count in _counts(folder).items())
    lines = [f"{name} is prepared in {folder} (images: {counts})."]
    if name == "imagenet2012" and counts != _IMAGENET:
        lines.append(f"This is a part of ILSVRC-2012, which has {_IMAGENET}.")
    command = f"python -m {_RECIPES.get(original_name(name), _RECIPES['imagenet2012'])}"
    if name not in _RECIPES:
        command += f" --config.data.source={name}"
    if data_dir is not None:
        command += f" --config.data.data_dir={data_dir}"
    return "\n".join([*lines, f"Train on it: {command}"])


if __name__ == "__main__":
    sys.exit(run_main(main, "prepare"))
