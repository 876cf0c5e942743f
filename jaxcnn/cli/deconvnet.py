"""Draws what of an image excites channels of a layer, projected back to pixels.

By ZFNet's deconvnet (Zeiler & Fergus 2013), or by guided backpropagation or the gradient.

python -m jaxcnn deconvnet zfnet --weights=zfnet.safetensors --layer=relu4 photo.jpg
python -m jaxcnn deconvnet vgg16 --weights=vgg16.pth --layer=pool5 --rule=guided photo.jpg
"""

import argparse
from pathlib import Path

import numpy as np

from jaxcnn.cli.looking import add_channels, add_image, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice
from jaxcnn.errors import UserError
from jaxcnn.inspection.backward import layer_of
from jaxcnn.inspection.projections import RULES, draw_projections, project

_MOST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "deconvnet")
    add_image(parser)
    parser.add_argument("--layer", required=True, help="such as relu4 or stage1/block1/relu2")
    add_channels(parser, f"the {_MOST} of the strongest activations")
    add_choice(parser, "--rule", RULES, default="deconvnet", help="how the signal goes back")
    parser.add_argument(
        "--whole", action="store_true", help="project whole maps, not the strongest activation"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws them; returns the exit status.

    Raises:
      UserError: there is no such network, layer, channel or image, or the file cannot be written.
    """
    path, layer = picture_path(arguments), arguments.layer
    looked = looked_into(arguments, output)
    name, pixels = looked.shown(arguments.image)
    model, variables = looked.network.model, looked.network.variables
    inputs = looked.inputs(pixels[None])
    channels = arguments.channels
    if channels is None:
        output_of_layer = np.asarray(layer_of(model, variables, inputs, layer))[0]
        peaks = output_of_layer.reshape(-1, output_of_layer.shape[-1]).max(axis=0)
        channels = tuple(np.argsort(-peaks, kind="stable")[:_MOST].tolist())
    if not channels:
        raise UserError("--channels names none; give numbers from 0, such as 3,7.")
    found = project(
        model, variables, inputs, layer, [channels], rule=arguments.rule, whole=arguments.whole
    )
    draw_projections(
        found,
        pixels,
        channels,
        path,
        title=f"{looked.title}: what excites {layer} in {Path(name).name}",
        layer=layer,
        rule=arguments.rule,
        whole=arguments.whole,
        order=looked.preprocessing.channel_order,
    )
    values = np.asarray(found.values)[0].tolist()
    record = {
        "file": str(path),
        "layer": layer,
        "image": name,
        "channels": list(channels),
        "activations": values,
    }
    output.result(record, f"Written to {path}: {len(channels)} channels of {layer} for {name}.")
    return 0
