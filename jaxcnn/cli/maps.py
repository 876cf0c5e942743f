"""Draws the feature maps of a layer for an image, by channel.

python -m jaxcnn maps zfnet --weights=zfnet.safetensors --layer=relu2 photo.jpg
python -m jaxcnn maps vgg16 --weights=vgg16.pth --layer=relu3_3 --channels=0-15 --each photo.jpg
"""

import argparse
from pathlib import Path

import numpy as np

from jaxcnn.cli.looking import add_channels, add_image, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.inspection.feature_maps import draw_feature_maps, feature_maps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "maps")
    add_image(parser)
    parser.add_argument("--layer", required=True, help="such as relu3_3 or stage1/block1/conv1")
    add_channels(parser, "the first 64")
    parser.add_argument(
        "--each", action="store_true", help="scale each channel's colours by itself"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws them; returns the exit status.

    Raises:
      UserError: there is no such network, layer, channel or image, or the file cannot be written.
    """
    path, layer = picture_path(arguments), arguments.layer
    looked = looked_into(arguments, output)
    name, pixels = looked.shown(arguments.image)
    network = looked.network
    found = feature_maps(network.model, network.variables, looked.inputs(pixels[None]), layer)
    maps = np.asarray(found[0])
    draw_feature_maps(
        maps,
        pixels,
        path,
        title=f"{looked.title}: feature maps of {layer} for {Path(name).name}",
        layer=layer,
        channels=arguments.channels,
        most=64 if arguments.channels is None else len(arguments.channels),
        each_scaled=arguments.each,
    )
    record = {"file": str(path), "layer": layer, "image": name, "shape": list(maps.shape)}
    output.result(record, f"Written to {path}: {layer} of {name}.")
    return 0
