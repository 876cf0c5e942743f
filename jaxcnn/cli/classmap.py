"""Draws what a network answers at every place of a larger image, laid over it.

By its fully convolutional form, which is swept over the image.

python -m jaxcnn classmap resnet50_v1_5 --weights=resnet50.pth --scale=448 photo.jpg
python -m jaxcnn classmap resnet20 --weights=resnet20.safetensors digits:3+14+27
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from jaxcnn.cli.looking import add_image, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import comma_separated
from jaxcnn.errors import UserError
from jaxcnn.inspection.class_maps import class_map, draw_class_map
from jaxcnn.inspection.scores import class_called, class_label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "classmap")
    add_image(parser)
    parser.add_argument(
        "--classes",
        type=comma_separated,
        default=(),
        metavar="NAME,NAME",
        help="names, or numbers from 0 (default: the most probable answers)",
    )
    parser.add_argument(
        "--scale",
        type=int,
        metavar="PIXELS",
        help="the image's shorter side is made so long (default: twice what it is used to)",
    )
    parser.add_argument(
        "--step",
        type=int,
        metavar="PIXELS",
        help="between two answers, a divisor of the network's stride (default: the stride)",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws it; returns the exit status.

    Raises:
      UserError: there is no such network, class or image, the network has no such form, or the
        file cannot be written.
    """
    path = picture_path(arguments)
    looked = looked_into(arguments, output)
    scale = 2 * looked.size if arguments.scale is None else arguments.scale
    looked = dataclasses.replace(looked, scale=scale)
    if looked.scale < looked.size:
        raise UserError(f"--scale must be {looked.size} or more, not {looked.scale}.")
    name, pixels = looked.shown(arguments.image, whole=True)
    network = looked.network
    names = network.class_names
    classes = tuple(
        class_called(word, network.model.num_classes, names) for word in arguments.classes
    )
    found = class_map(
        network.model,
        network.variables,
        looked.inputs(pixels[None])[0],
        window=looked.size,
        step=arguments.step,
    )
    draw_class_map(
        found,
        pixels,
        path,
        title=f"{looked.title}: answers all over {Path(name).name}",
        class_names=names,
        classes=classes,
    )
    answers = np.vectorize(lambda number: class_label(int(number), names), otypes=[object])(
        found.probabilities.argmax(axis=-1)
    )
    record = {
        "file": str(path),
        "image": name,
        "window": found.window,
        "stride": found.stride,
        "answers": answers.tolist(),
    }
    rows, columns = answers.shape
    output.result(record, f"Written to {path}: {rows} x {columns} answers to {name}.")
    return 0
