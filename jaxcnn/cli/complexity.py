"""Published accuracy against multiply-adds of all networks, and ILSVRC's errors by year.

python -m jaxcnn complexity
python -m jaxcnn complexity --folder=docs/images
python -m jaxcnn complexity --json

Prints both as tables, and draws complexity.png, complexity.svg, ilsvrc.png and ilsvrc.svg. An error
rate is of a protocol: most are of the centre crop of images of 256 pixels, the others, of networks
for which no such figure is published, are the papers' own and say what they are. Multiply-adds and
parameters are counted here.
"""

import argparse
from pathlib import Path
from typing import Any

from jaxcnn.cli.listing import summaries
from jaxcnn.cli.output import Output
from jaxcnn.evaluation.comparison import COMPARED, compared_figures
from jaxcnn.evaluation.ilsvrc import ENTRIES
from jaxcnn.files import writing
from jaxcnn.inspection.complexity import Dot, draw_complexity
from jaxcnn.inspection.ilsvrc import Bar, draw_years
from jaxcnn.inspection.tables import table

_WORDS = {"center": "centre crop", "ten_crop": "ten crops", "dense": "dense"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("--folder", type=Path, default=Path(), help="for the pictures")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws and prints; returns the exit status.

    Raises:
      UserError: the pictures cannot be written.
    """
    networks = compared_networks()
    years = [entry._asdict() for entry in ENTRIES]
    with writing(arguments.folder):
        arguments.folder.mkdir(parents=True, exist_ok=True)
    charts, bars = (
        [arguments.folder / f"{name}.{kind}" for kind in ("png", "svg")]
        for name in ("complexity", "ilsvrc")
    )
    draw_complexity(
        [
            Dot(
                of["network"],
                _family(of["network"]),
                of["multiply_adds"],
                of["parameters"],
                100 - of["top1"],
                "" if of["protocol"] == COMPARED else _WORDS[of["protocol"]],
            )
            for of in networks
            if of["top1"] is not None
        ],
        _WORDS[COMPARED],
        charts,
    )
    draw_years(
        [Bar(of.year, of.name, of.what, of.top5, of.here) for of in ENTRIES],
        "Top-5 error of ILSVRC's classification by year, on the test images",
        "a network of this package",
        bars,
    )
    files = [str(path) for path in (*charts, *bars)]
    record = {"networks": networks, "ilsvrc": years, "files": files}
    output.result(record, "\n".join([_networks(networks), "", _years()]))
    output.note(f"Drew {', '.join(files)}.")
    return 0


def compared_networks() -> list[dict[str, Any]]:
    """What is published of each network, and what it costs, from the fewest multiply-adds on.

    Top-1 and top-5 are errors in %, None where they are not given.
    """
    figures = compared_figures()
    networks = [
        {
            "network": of.name,
            "image_shape": of.image_shape,
            "multiply_adds": of.multiply_adds,
            "parameters": of.parameters,
            "top1": figures[of.name].top1,
            "top5": figures[of.name].top5,
            "protocol": figures[of.name].protocol,
            "scales": figures[of.name].scales,
            "source": figures[of.name].source,
        }
        for of in summaries(list(figures))
    ]
    return sorted(networks, key=lambda of: (of["multiply_adds"], of["network"]))


def _family(network: str) -> str:
    if network.startswith("vgg"):
        return "VGG with BatchNorm" if network.endswith("_bn") else "VGG"
    stems = {
        "alexnet": "AlexNet, ZFNet",
        "zfnet": "AlexNet, ZFNet",
        "googlenet": "GoogLeNet",
        "resnet": "ResNet",
        "plain": "ResNet without shortcuts",
    }
    return next(family for stem, family in stems.items() if network.startswith(stem))


def _networks(networks: list[dict[str, Any]]) -> str:
    rows = [
        ["network", "multiply-adds", "parameters", "top-1", "top-5", "by", "at", "source"],
        *(
            [
                of["network"],
                f"{of['multiply_adds']:,}",
                f"{of['parameters']:,}",
                *("-" if error is None else f"{error:.2f}" for error in (of["top1"], of["top5"])),
                of["protocol"],
                ",".join(map(str, of["scales"])),
                of["source"],
            ]
            for of in networks
        ),
    ]
    return table(rows, words=(0, 5, 6, 7))


def _years() -> str:
    rows = [
        ["ILSVRC", "entry", "", "top-5", "source"],
        *([str(e.year), e.name, e.what, f"{e.top5:g}", e.source] for e in ENTRIES),
    ]
    return table(rows, words=(0, 1, 2, 4))
