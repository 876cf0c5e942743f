"""A folder to share: weights, what they are of, and a card that says how to use them.

python -m jaxcnn share vgg16 --weights=vgg16-397923af.pth vgg16-torchvision --license=bsd-3-clause
hf upload USER/MODEL vgg16-torchvision
python -m jaxcnn predict vgg16 --weights=USER/MODEL photo.jpg

The folder is laid out as the Hugging Face hub expects: model.safetensors, config.json and
README.md. --weights takes it, here or from the hub.
"""

import argparse

from jaxcnn.cli.network import add_trained_network, network_of
from jaxcnn.cli.output import Output
from jaxcnn.pretrained import save_folder
from jaxcnn.pretrained.hub import FILES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_trained_network(parser)
    parser.add_argument("folder", metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--license", metavar="NAME", help="of the weights, by its name on the hub (default: none)"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Writes the folder; returns the exit status.

    Raises:
      UserError: the weights are not the network's, or the folder cannot be written.
    """
    network = network_of(arguments, output)
    save_folder(
        arguments.folder,
        network.model,
        network.variables,
        preprocessing=network.preprocessing,
        class_names=network.class_names,
        license_name=arguments.license,
    )
    output.result({"folder": arguments.folder, "files": FILES}, written(arguments.folder))
    return 0


def written(folder: str) -> str:
    """What is said at the end."""
    return f"Written to {folder}: {', '.join(FILES)}."
