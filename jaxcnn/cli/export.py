"""A network in a file that runs without this package: StableHLO, or ONNX.

python -m jaxcnn export vgg16 --weights=vgg16-397923af.pth --format=onnx --output=vgg16.onnx
python -m jaxcnn export resnet50 --weights=FILE --format=stablehlo --output=resnet50.stablehlo

The file takes batches of any size of images, NHWC: uint8 in RGB, which it normalises as the weights
were trained for, or with --normalized float32, normalised already; rescaled and cropped they are.
It gives probabilities, or with --logits logits. The weights are within it.

StableHLO is run by JAX alone, `jax.export.deserialize(data).call(images)`, on CPUs, GPUs and TPUs.
ONNX is written with the extra onnx, in float32, and run by onnxruntime and many others.
"""

import argparse
import os

import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxcnn.cli.network import add_network, images_of, network_of
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice
from jaxcnn.exporting import classifying, write_onnx, write_stablehlo
from jaxcnn.pretrained.naming import stem_path

_FORMATS = {"onnx": write_onnx, "stablehlo": write_stablehlo}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_network(parser, weights="random ones")
    add_choice(parser, "--format", _FORMATS, required=True, help="of the file")
    parser.add_argument("--output", metavar="FILE", required=True, help="where it is written")
    parser.add_argument("--logits", action="store_true", help="give logits, not probabilities")
    parser.add_argument(
        "--normalized", action="store_true", help="take images that are normalised already"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Writes the file; returns the exit status.

    Raises:
      UserError: the network cannot be made, or is not written in that format, or the file not at
        all.
    """
    height, width, _ = images_of(arguments)
    network = network_of(arguments, output)
    preprocessing = None if arguments.normalized else network.preprocessing
    if preprocessing is None and not arguments.normalized:
        output.note("How images are normalised is not known: the file takes normalised ones.")
    if network.preprocessing is not None and arguments.image_size is None:
        height, width = (network.preprocessing.crop or side for side in (height, width))
    exported = classifying(
        network.model,
        network.variables,
        preprocessing,
        height=height,
        width=width,
        channels=flatten_dict(network.variables)[stem_path(network.model)].shape[2],
        logits=arguments.logits,
        dtype=jnp.float32 if arguments.format == "onnx" else None,
    )
    _FORMATS[arguments.format](arguments.output, exported)
    size = os.path.getsize(arguments.output)
    images = exported.images("batch")
    record = {
        "file": arguments.output,
        "bytes": size,
        "images": list(images.shape),
        "dtype": images.dtype.name,
        exported.answers: ["batch", exported.classes],
    }
    shape = ", ".join(map(str, images.shape))
    output.result(
        record,
        f"Written to {arguments.output} ({size / 1e6:.1f} MB): from images ({shape}), "
        f"{images.dtype}, to {exported.answers} (batch, {exported.classes}).",
    )
    return 0
