"""The networks that there are.

python -m jaxcnn list
python -m jaxcnn list 'vgg*_bn'
"""

import argparse

from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.models import list_models


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
    output.result(names, "\n".join(names))
    return 0
