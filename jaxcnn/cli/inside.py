"""Draws one picture of all that goes on in a network that is shown an image.

Its filters, feature maps, projections of the deconvnet, and what its answer depends on.

python -m jaxcnn inside zfnet --weights=zfnet.safetensors photo.jpg
"""

import argparse
from pathlib import Path

from jaxcnn.cli.looking import add_class, add_image, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.inspection.inside import draw_inside
from jaxcnn.inspection.scores import class_label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "inside")
    add_image(parser)
    add_class(parser)


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
    called = class_label(label, network.class_names)
    layers = draw_inside(
        network.model,
        network.variables,
        looked.inputs(pixels[None]),
        pixels,
        label,
        path,
        title=f"Inside {looked.title}, which is shown {Path(name).name} and asked about '{called}'",
        class_names=network.class_names,
        fill=looked.level(128),
        order=looked.preprocessing.channel_order,
    )
    record = {"file": str(path), "image": name, "class": called, "layers": list(layers)}
    output.result(record, f"Written to {path}: {', '.join(layers)}.")
    return 0
