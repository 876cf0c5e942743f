"""Draws one picture of all that goes on in a network that is shown an image.

Its filters, feature maps, projections of the deconvnet, and what its answer depends on.

python -m jaxcnn inside zfnet --weights=zfnet.safetensors photo.jpg
"""

import argparse

from jaxcnn.cli.looking import add_class, add_image, add_looked, picture_path, question_of
from jaxcnn.cli.output import Output
from jaxcnn.inspection.inside import draw_inside


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
    asked = question_of(arguments, output)
    looked, network = asked.looked, asked.looked.network
    layers = draw_inside(
        network.model,
        network.variables,
        asked.inputs,
        asked.pixels,
        asked.label,
        path,
        title=f"Inside {looked.title}, which is shown {asked.file_name} and asked about "
        f"'{asked.called}'",
        class_names=network.class_names,
        fill=looked.level(128),
        order=looked.preprocessing.channel_order,
    )
    record = {"file": str(path), "image": asked.name, "class": asked.called, "layers": list(layers)}
    output.result(record, f"Written to {path}: {', '.join(layers)}.")
    return 0
