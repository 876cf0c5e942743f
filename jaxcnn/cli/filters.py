"""Draws the filters of a network's first convolution, or of one channel of a later one.

python -m jaxcnn filters alexnet --weights=alexnet.safetensors
python -m jaxcnn filters vgg16 --weights=vgg16.pth --layer=conv3_1 --channel=7
"""

import argparse

from jaxcnn.cli.looking import add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.inspection.filters import draw_filters, filters, groups_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "filters")
    parser.add_argument("--layer", help="a convolution (default: the first)")
    parser.add_argument("--channel", type=int, metavar="N", help="draw its filter of each input")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws them; returns the exit status.

    Raises:
      UserError: there is no such network, layer or channel, or the file cannot be written.
    """
    path = picture_path(arguments)
    looked = looked_into(arguments, output)
    model = looked.network.model
    layer, kernels = filters(model, looked.network.variables, looked.shape, arguments.layer)
    whole = arguments.layer is None and arguments.channel is None
    title = f"{looked.title}: filters of {layer}"
    if arguments.channel is not None:
        title += f", channel {arguments.channel}"
    draw_filters(
        kernels,
        path,
        title=title,
        groups=groups_of(model) if whole else 1,
        channel=arguments.channel,
        order=looked.preprocessing.channel_order,
    )
    record = {"file": str(path), "layer": layer, "shape": list(kernels.shape)}
    output.result(record, f"Written to {path}: the filters of {layer}.")
    return 0
