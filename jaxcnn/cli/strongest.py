"""Draws the parts of images that excite channels of a layer most, beside their projections.

Figure 2 of Zeiler & Fergus 2013, from a folder of images or the embedded digits.

python -m jaxcnn strongest zfnet --weights=zfnet.safetensors --layer=relu3 --channels=0-5 digits
python -m jaxcnn strongest vgg16 --weights=vgg16.pth --layer=relu4_1 --channels=7 photos/
"""

import argparse
from collections.abc import Iterator

import numpy as np

from jaxcnn.cli.images import IMAGES
from jaxcnn.cli.looking import Looked, add_channels, add_looked, looked_into, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice
from jaxcnn.errors import UserError
from jaxcnn.inspection.projections import RULES
from jaxcnn.inspection.strongest import draw_strongest, patches, strongest
from jaxcnn.progress import Progress

_AT_ONCE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_looked(parser, "strongest")
    parser.add_argument("images", nargs="*", default=["digits"], help=IMAGES)
    parser.add_argument("--layer", required=True, help="such as relu3 or stage1/block1/relu2")
    add_channels(parser, "0-3")
    parser.add_argument("--count", type=int, default=9, metavar="N", help="images of each channel")
    add_choice(parser, "--rule", RULES, default="deconvnet", help="how the signal goes back")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws them; returns the exit status.

    Raises:
      UserError: there is no such network, layer, channel or image, or the file cannot be written.
    """
    path, layer = picture_path(arguments), arguments.layer
    channels = (0, 1, 2, 3) if arguments.channels is None else arguments.channels
    if arguments.count < 1 or not channels:
        raise UserError("--count must be 1 or more, and --channels name at least one.")
    looked = looked_into(arguments, output)
    model, variables = looked.network.model, looked.network.variables
    names: list[str] = []
    pixels: list[np.ndarray] = []
    found = strongest(
        model,
        variables,
        _batches(looked, arguments.images, names, pixels),
        layer,
        channels,
        count=arguments.count,
    )
    rows = {}
    for channel, numbers, places in zip(channels, found.images, found.places, strict=True):
        shown = np.stack([pixels[n] for n in numbers])
        rows[channel] = patches(
            model,
            variables,
            looked.inputs(shown),
            shown,
            layer,
            channel,
            places,
            rule=arguments.rule,
        )
    draw_strongest(
        rows,
        found.values,
        path,
        title=f"{looked.title}: what excites {layer} most in {len(names)} images",
        layer=layer,
        rule=arguments.rule,
        order=looked.preprocessing.channel_order,
    )
    record = {
        "file": str(path),
        "layer": layer,
        "images": {
            str(channel): [
                {"image": names[n], "activation": value}
                for n, value in zip(numbers.tolist(), values.tolist(), strict=True)
            ]
            for channel, numbers, values in zip(channels, found.images, found.values, strict=True)
        },
    }
    lines = [
        f"channel {channel}: " + ", ".join(names[n] for n in numbers)
        for channel, numbers in zip(channels, found.images.tolist(), strict=True)
    ]
    output.result(record, "\n".join([*lines, f"Written to {path}."]))
    return 0


def _batches(
    looked: Looked, words: list[str], names: list[str], pixels: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """What the network takes of the images, whose names and pixels are kept."""
    with Progress(total=None, description="looking") as bar:
        for name, image in looked.all_shown(words):
            names.append(name)
            pixels.append(image)
            bar.advance(1)
            if len(pixels) % _AT_ONCE == 0:
                yield np.asarray(looked.inputs(np.stack(pixels[-_AT_ONCE:])))
    if left := len(pixels) % _AT_ONCE:
        yield np.asarray(looked.inputs(np.stack(pixels[-left:])))
