"""Draws which pixels of an image a class's score depends on.

The absolute gradient of the score, as in Simonyan, Vedaldi & Zisserman 2013.

python -m jaxcnn saliency vgg16 --weights=vgg16.pth photo.jpg
python -m jaxcnn saliency vgg16 --weights=vgg16.pth --class=tabby --rule=guided photo.jpg
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxcnn.cli.looking import add_class, add_image, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice
from jaxcnn.inspection.projections import RULES
from jaxcnn.inspection.saliency import draw_saliency, saliency
from jaxcnn.inspection.scores import class_label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "saliency")
    add_image(parser)
    add_class(parser)
    add_choice(parser, "--rule", RULES, default="gradient", help="how the signal goes back")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws it; returns the exit status.

    Raises:
      UserError: there is no such network, class or image, or the file cannot be written.
    """
    path = picture_path(arguments)
    looked = looked_into(arguments, output)
    name, pixels = looked.shown(arguments.image)
    label = looked.asked_class(arguments.label, pixels, output)
    network = looked.network
    salient = saliency(
        network.model,
        network.variables,
        looked.inputs(pixels[None]),
        jnp.array([label]),
        rule=arguments.rule,
    )
    called = class_label(label, network.class_names)
    draw_saliency(
        np.asarray(salient)[0],
        pixels,
        path,
        title=f"{looked.title}: pixels of {Path(name).name} that '{called}' depends on",
        name=called,
        rule=arguments.rule,
    )
    record = {"file": str(path), "image": name, "class": called, "rule": arguments.rule}
    output.result(record, f"Written to {path}: the saliency of '{called}' in {name}.")
    return 0
