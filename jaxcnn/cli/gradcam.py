"""Draws where in an image the maps of a layer have evidence for a class.

Grad-CAM, as in Selvaraju et al. 2016.

python -m jaxcnn gradcam resnet50_v1_5 --weights=resnet50.pth photo.jpg
python -m jaxcnn gradcam vgg16 --weights=vgg16.pth --layer=relu4_3 --class=tabby photo.jpg
"""

import argparse

import jax.numpy as jnp
import numpy as np

from jaxcnn.cli.looking import add_class, add_image, add_looked, picture_path, question_of
from jaxcnn.cli.output import Output
from jaxcnn.inspection.feature_maps import map_layers
from jaxcnn.inspection.gradcam import draw_grad_cam, grad_cam


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "gradcam")
    add_image(parser)
    add_class(parser)
    parser.add_argument("--layer", help="a layer with maps (default: the last but a pool)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws it; returns the exit status.

    Raises:
      UserError: there is no such network, layer, class or image, or the file cannot be written.
    """
    path = picture_path(arguments)
    asked = question_of(arguments, output)
    model, variables = asked.looked.network.model, asked.looked.network.variables
    inputs = asked.inputs
    layer = arguments.layer or map_layers(model, variables, inputs)[-1]
    maps = np.asarray(grad_cam(model, variables, inputs, jnp.array([asked.label]), layer))[0]
    draw_grad_cam(
        maps,
        asked.pixels,
        path,
        title=f"{asked.looked.title}: evidence of {layer} for '{asked.called}' in "
        f"{asked.file_name}",
        name=asked.called,
        layer=layer,
    )
    record = {
        "file": str(path),
        "image": asked.name,
        "class": asked.called,
        "layer": layer,
        "shape": list(maps.shape),
    }
    said = f"Written to {path}: the evidence of {layer} for '{asked.called}' in {asked.name}."
    output.result(record, said)
    return 0
