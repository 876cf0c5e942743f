# PYTHON_ARGCOMPLETE_OK
"""Projects a training's images/s from one accelerator to 1,024.

    python -m experiments.projection --model=vgg16 --images_per_second=4300,6400 --batch_size=128

What one accelerator trains in a second is given, not measured; what the accelerators exchange in a
step is counted in the compiled step, of data parallelism by jit and by pmap and with the fully
connected layers split over rows of accelerators (``--config.parallel.model`` of a run); how long
that takes is what the published speed of their links says. It is a projection, and what it leaves
out is in docs/scaling.md.

The range in each place is from exchanges that wait until all is computed to exchanges that cost
nothing as long as they take less time than the computation.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import traffic
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.files import write_atomically
from jaxcnn.training.links import LINKS, Links
from jaxcnn.training.traffic import Exchange

ACCELERATORS = tuple(2**i for i in range(11))


@dataclasses.dataclass(frozen=True)
class Exchanged:
    """What the accelerators exchange in a step, however many there are.

    Attributes:
      row: how many share the layers that are split; 1 where none is.
      by_all: bytes of what all of them add up.
      by_column: bytes of what only those with the same part of the split layers add up.
      in_row: bytes that each sends to the others of its row.
    """

    row: int
    by_all: int
    by_column: int
    in_row: int

    @classmethod
    def counted(cls, found: Sequence[Exchange], devices: int, row: int) -> "Exchanged":
        """Of what was counted over so many devices.

        Raises:
          UserError: something is exchanged whose size with other devices is not known.
        """
        sizes = {"by_all": 0, "by_column": 0, "in_row": 0}
        for each in found:
            if each.devices == 1:
                continue
            if each.devices == row:
                sizes["in_row"] += round(each.sent)
            elif each.kind == "all-reduce" and each.devices in (devices, devices // row):
                sizes["by_all" if each.devices == devices else "by_column"] += each.size
            else:
                raise UserError(
                    f"the step has an {each.kind} among {each.devices} of {devices} devices, and "
                    "how that grows with their number is not known; choose another model or --row."
                )
        return cls(row, **sizes)

    def seconds(self, links: Links, accelerators: int) -> float:
        """What the exchanges of a step take."""
        return (
            links.sum_seconds(self.by_all, accelerators)
            + links.sum_seconds(self.by_column, accelerators // self.row, stride=self.row)
            + self.in_row / links.within
        )


def projected(
    exchanged: Exchanged, links: Links, *, rate: float, batch_size: int, accelerators: int
) -> tuple[float, float]:
    """Images/s without any overlap of exchanges and computation, and with as much as there can be.

    Args:
      exchanged: in a step.
      links: between the accelerators.
      rate: images/s of one accelerator by itself.
      batch_size: images of each accelerator in a step.
      accelerators: a multiple of the row.
    """
    computing = batch_size / rate
    exchanging = exchanged.seconds(links, accelerators) if accelerators > 1 else 0.0
    images = accelerators * batch_size
    return images / (computing + exchanging), images / max(computing, exchanging)


def markdown(result: Mapping[str, Any]) -> str:
    """What was counted, and the projections, as tables."""
    links, batch = LINKS[result["links"]], result["batch_size"]
    ways = {name: Exchanged(**sizes) for name, sizes in result["exchanged"].items()}

    def table(*rows: Sequence[str]) -> str:
        head, *others = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([head, "|---" * len(rows[0]) + "|", *others])

    def mebibytes(size: int) -> str:
        return f"{size / 2**20:,.1f}"

    counted = table(
        ("MiB", "added up by all", "by those with the same part", "sent within a row"),
        *(
            (name, mebibytes(way.by_all), mebibytes(way.by_column), mebibytes(way.in_row))
            for name, way in ways.items()
        ),
    )
    parts = [f"{result['model']}, {batch} images of each accelerator in a step:", counted]
    for rate in result["images_per_second"]:

        def cell(way: Exchanged, accelerators: int, rate: float = rate) -> str:
            if accelerators > 1 and accelerators % way.row:
                return ""
            least, most = projected(
                way, links, rate=rate, batch_size=batch, accelerators=accelerators
            )
            share = f"{least / accelerators / rate:.0%} to {most / accelerators / rate:.0%}"
            return f"{least:,.0f} to {most:,.0f} ({share})" if accelerators > 1 else f"{least:,.0f}"

        parts += [
            f"images/s, if one {links.accelerator.partition(',')[0]} trains {rate:,g} (not "
            "measured here):",
            table(
                ("accelerators", *ways),
                *((f"{n:,}", *(cell(way, n) for way in ways.values())) for n in ACCELERATORS),
            ),
        ]
    return "\n\n".join(parts)


def count(arguments: argparse.Namespace, devices: int) -> dict[str, Exchanged]:
    """What is exchanged, by the way in which the step is laid out."""
    over = argparse.Namespace(
        **{
            **vars(arguments),
            "devices": devices,
            "batch_size": devices * arguments.batch_size,
            "split": None,
            "dtype": "float32",
        }
    )
    rows = [] if arguments.row == 1 else [arguments.row]
    return {
        column.name: Exchanged.counted(
            column.exchanges, devices, arguments.row if column.layers else 1
        )
        for column in traffic.columns(over, rows)
    }


def main(argv: Sequence[str], output: Output) -> int:
    """Counts, projects and prints; returns the exit status."""
    parser = Parser("python -m experiments.projection", __doc__)
    parser.add_argument("--model", default="vgg16", help="a registered name")
    parser.add_argument(
        "--images_per_second",
        default="4300,6400",
        help="of one accelerator; several separated by commas; the default is what "
        "VGG-16 on one H200 is planned with, not measured",
    )
    parser.add_argument("--batch_size", type=int, default=128, help="of each accelerator")
    parser.add_argument("--image_size", type=int, default=224, help="pixels")
    parser.add_argument("--num_classes", type=int, default=1000, help="that it tells apart")
    parser.add_argument(
        "--row",
        type=int,
        default=8,
        help="accelerators that share the fully connected layers, within a domain of the fast "
        "links; 1 for none",
    )
    parser.add_argument("--links", default="h200", help=f"between accelerators: {', '.join(LINKS)}")
    parser.add_argument("--output", type=Path, help="also write what was counted as JSON here")
    arguments = parser.read(argv)
    for name in ("batch_size", "image_size", "num_classes", "row"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}={getattr(arguments, name)} must be 1 or more.")
    if arguments.links not in LINKS:
        raise unknown_name("kind of links", arguments.links, LINKS)
    if LINKS[arguments.links].domain % arguments.row or arguments.row not in ACCELERATORS:
        raise UserError(
            f"--row={arguments.row} must be a power of two that divides the "
            f"{LINKS[arguments.links].domain} accelerators of a domain."
        )
    rates = _rates(arguments.images_per_second)
    # So many that a row, a column and all are told apart by their number.
    devices = {1: 2, 2: 8}.get(arguments.row, 2 * arguments.row)
    if len(jax.devices()) < devices:
        return traffic.with_virtual_devices(
            "experiments.projection", [*argv, *output.words], devices
        )
    counted = count(arguments, devices)
    asked = [argument for argument in argv if not argument.startswith("--output")]
    result = {
        "command": f"python -m experiments.projection {' '.join(asked)}".strip(),
        "model": arguments.model,
        "batch_size": arguments.batch_size,
        "links": arguments.links,
        "images_per_second": rates,
        "exchanged": {name: dataclasses.asdict(way) for name, way in counted.items()},
    }
    output.result(result, markdown(result))
    if arguments.output is not None:
        write_atomically(arguments.output, json.dumps(result, indent=2) + "\n")
    return 0


def _rates(given: str) -> list[float]:
    try:
        rates = [float(rate) for rate in given.split(",")]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate < float("inf") for rate in rates):
        raise UserError(
            f"--images_per_second={given} is no list of positive numbers, such as 4300,6400."
        )
    return rates


if __name__ == "__main__":
    sys.exit(run_main(main, "projection"))
