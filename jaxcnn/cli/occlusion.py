"""Draws how a network's answer depends on what is hidden: a square is slid over the image.

Figure 6 of Zeiler & Fergus 2013: the class's probability, the strongest map and the answer.

python -m jaxcnn occlusion zfnet --weights=zfnet.safetensors photo.jpg
python -m jaxcnn occlusion vgg16 --weights=vgg16.pth --class=tabby --size=50 --stride=8 photo.jpg
"""

import argparse

import numpy as np

from jaxcnn.cli.looking import add_class, add_image, add_looked, picture_path, question_of
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.inspection.feature_maps import map_layers
from jaxcnn.inspection.occlusion import draw_occlusion, occluded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "occlusion")
    add_image(parser)
    add_class(parser)
    parser.add_argument(
        "--layer", help="whose strongest map is watched (default: the last but a pool)"
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="of the square (default: a quarter of the image)"
    )
    parser.add_argument(
        "--stride", type=int, metavar="PIXELS", help="of its places (default: 1/32 of the image)"
    )
    parser.add_argument(
        "--grey", type=int, default=128, metavar="LEVEL", help="of the square, 0 to 255"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws it; returns the exit status.

    Raises:
      UserError: there is no such network, layer, class or image, the square does not fit, or the
        file cannot be written.
    """
    path = picture_path(arguments)
    if not 0 <= arguments.grey <= 255:
        raise UserError(f"--grey is {arguments.grey}; give 0 (black) to 255 (white).")
    asked = question_of(arguments, output)
    looked, network, inputs = asked.looked, asked.looked.network, asked.inputs
    layer = arguments.layer or map_layers(network.model, network.variables, inputs)[-1]
    size = max(1, looked.size // 4) if arguments.size is None else arguments.size
    stride = max(1, looked.size // 32) if arguments.stride is None else arguments.stride
    found = occluded(
        network.model,
        network.variables,
        inputs[0],
        asked.label,
        layer,
        size=size,
        stride=stride,
        fill=looked.level(arguments.grey),
    )
    draw_occlusion(
        found,
        asked.pixels,
        path,
        title=f"{looked.title}: '{asked.called}' in {asked.file_name} with a part hidden, {layer}",
        label=asked.label,
        class_names=network.class_names,
        layer=layer,
        size=size,
        stride=stride,
        grey=arguments.grey,
    )
    probability = np.asarray(found.probability)
    record = {
        "file": str(path),
        "image": asked.name,
        "class": asked.called,
        "layer": layer,
        "channel": int(found.channel),
        "size": size,
        "stride": stride,
        "probability": probability.tolist(),
    }
    low, high = 100 * probability.min(), 100 * probability.max()
    text = f"'{asked.called}' has {low:.1f} to {high:.1f} % as the square moves. Written to {path}."
    output.result(record, text)
    return 0
