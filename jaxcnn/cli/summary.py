"""A network layer by layer: shapes, parameters, multiply-adds, memory, receptive fields.

python -m jaxcnn summary vgg16 --image-size=224
python -m jaxcnn summary resnet50 --batch-size=64 --json

Nothing is computed. A layer's units each see a square of the image of so many pixels (sees), from
one unit to the next so many pixels on (stride), the first one's centre so many from the centre of
the image's first pixel (offset). MB are 2^20 bytes. Memory is for training, by torchsummary's rule:
the outputs of all layers, twice.
"""

import argparse

from jaxcnn.cli.network import add_network, images_of, model_of
from jaxcnn.cli.output import Output
from jaxcnn.inspection.summary import summarize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_network(parser, weights=None)
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="of the memory")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the table; returns the exit status.

    Raises:
      UserError: there is no such network, or it does not take such images.
    """
    summary = summarize(
        model_of(arguments), images_of(arguments), arguments.batch_size, name=arguments.network
    )
    output.result(summary.record(), summary.text())
    return 0
