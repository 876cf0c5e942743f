"""The networks that there are.

python -m jaxcnn list
python -m jaxcnn list 'vgg*_bn'
"""

import argparse

from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.models import image_shape, list_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("pattern", nargs="?", default="*", help="such as 'vgg*_bn' (default: all)")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the names; returns the exit status.

    Raises:
      UserError: none matches.
    """
    names = list_models(arguments.pattern)
    if not names:
        raise UserError(f"no network's name matches '{arguments.pattern}'; list shows all names.")
    records = [{"name": name, "images": image_shape(name)} for name in names]
    output.result(records, "\n".join(names))
    return 0
