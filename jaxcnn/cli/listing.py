"""The networks that there are.

python -m jaxcnn list
python -m jaxcnn list 'vgg*_bn' --long
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.inspection.summary import Summary, summarize
from jaxcnn.inspection.summary_text import times
from jaxcnn.inspection.tables import table
from jaxcnn.models import create_model, image_shape, list_models
from jaxcnn.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("pattern", nargs="?", default="*", help="such as 'vgg*_bn' (default: all)")
    parser.add_argument(
        "--long", action="store_true", help="images, classes, parameters and multiply-adds as well"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the names; returns the exit status.

    Raises:
      UserError: none matches.
    """
    names = list_models(arguments.pattern)
    if not names:
        raise UserError(f"no network's name matches '{arguments.pattern}'; list shows all names.")
    records: list[dict[str, Any]] = [{"name": n, "images": image_shape(n)} for n in names]
    if not arguments.long:
        output.result(records, "\n".join(names))
        return 0
    rows = [["network", "images", "classes", "parameters", "multiply-adds"]]
    for record, of in zip(records, summaries(names), strict=True):
        (classes,) = of.layers[-1].output_shape
        record |= {
            "classes": classes,
            "parameters": of.parameters,
            "multiply_adds": of.multiply_adds,
        }
        rows.append(
            [
                of.name,
                times(of.image_shape),
                f"{classes:,}",
                f"{of.parameters:,}",
                f"{of.multiply_adds:,}",
            ]
        )
    output.result(records, table(rows, words=(0, 1)))
    return 0


def summaries(names: Sequence[str]) -> Iterator[Summary]:
    """The networks' summaries, on the images that they were made for."""
    with Progress(total=len(names), description="counting", unit="networks", delay=1) as progress:
        for name in names:
            yield summarize(create_model(name), image_shape(name), name=name)
            progress.advance(1)
