"""Draws which pixels of an image a class's score depends on.

The absolute gradient of the score, as in Simonyan, Vedaldi & Zisserman 2013.

python -m jaxcnn saliency vgg16 --weights=vgg16.pth photo.jpg
python -m jaxcnn saliency vgg16 --weights=vgg16.pth --class=tabby --rule=guided photo.jpg
"""

import argparse

import jax.numpy as jnp
import numpy as np

from jaxcnn.cli.looking import add_class, add_image, add_looked, picture_path, question_of
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice
from jaxcnn.inspection.projections import RULES
from jaxcnn.inspection.saliency import draw_saliency, saliency


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
    asked = question_of(arguments, output)
    network = asked.looked.network
    salient = saliency(
        network.model,
        network.variables,
        asked.inputs,
        jnp.array([asked.label]),
        rule=arguments.rule,
    )
    draw_saliency(
        np.asarray(salient)[0],
        asked.pixels,
        path,
        title=f"{asked.looked.title}: pixels of {asked.file_name} that '{asked.called}' depends on",
        name=asked.called,
        rule=arguments.rule,
    )
    record = {
        "file": str(path),
        "image": asked.name,
        "class": asked.called,
        "rule": arguments.rule,
    }
    output.result(record, f"Written to {path}: the saliency of '{asked.called}' in {asked.name}.")
    return 0
