# PYTHON_ARGCOMPLETE_OK
"""How many training images are read per CPU-second, beside tf.data and PyTorch's DataLoader.

    python -m experiments.input_benchmark
    python -m experiments.input_benchmark --compare=tfdata,torch --output=input.json

It makes photograph-like JPEGs of 500 x 375 pixels, and of these the data sets that
`experiments.prepare` makes with --side and --raw; each is read, cropped at random to 224 x 224,
mirrored, shuffled and batched, through the whole pipeline, by each of the ways in a process of its
own (`experiments.input_contestant`), in turn, round after round.

What counts is images per CPU-second: over the time that all threads and processes of one way kept
a core busy. Images per second of wall time stand beside it. Each is the median over the rounds,
with the slowest and the fastest. A ratio is of the figures of the same round, and is left out where
its spread is so large that it might as well be 1.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import environment
from experiments.input_contestant import Settings
from experiments.input_images import NAME, write_photographs
from experiments.large_pages import tunables
from experiments.turns import Contestant, EndedError, contestant
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.data.prepared import PreparedSource
from jaxcnn.data.resized import prepare_resized
from jaxcnn.data.resized_form import Form
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.files import write_atomically
from jaxcnn.progress import Progress

FORMS = {
    "originals": None,
    "side256": Form(256),
    "side256_raw": Form(256, raw=True),
}
PEERS = {"tfdata": ("tensorflow", "tensorflow-cpu"), "torch": ("torchvision", "torch torchvision")}
NEEDED = (4300, 6400)
"""Images/s that VGG-16 may train at on one H200, from slow to fast: for planning, not measured."""

_OURS = ("jaxcnn", "jaxcnn_fast")
_MEASURES = {"images_per_cpu_second": "cpu_seconds", "images_per_second": "seconds"}

Rounds = dict[tuple[str, str], list[dict[str, float]]]
"""By way of reading and form, what was measured in each round."""


@contextlib.contextmanager
def _contestant(settings: Settings) -> Iterator[Contestant]:
    """The process of one of them, which reads whenever it is told to."""
    # Ours start in large pages, as a run's do; a peer's users do not.
    pages = tunables(large_pages=settings.reader in _OURS)
    with contestant("experiments.input_contestant", json.dumps(settings), **pages) as process:
        try:
            yield process
        except EndedError as error:
            raise UserError(
                f"{settings.reader} could not read its images: {error.reason}"
            ) from None


def measure(root: Path, pairs: Sequence[tuple[str, str]], options: argparse.Namespace) -> Rounds:
    """Reads in turn by each of the ways, once to warm up and then round after round."""
    found: Rounds = {pair: [] for pair in pairs}
    steps = max(1, options.images_per_round // options.batch_size)
    with contextlib.ExitStack() as stack:
        processes = {}
        for reader, form in pairs:
            name = _name(form)
            settings = Settings(reader, name, os.fspath(root), options.batch_size, options.threads)
            processes[reader, form] = stack.enter_context(_contestant(settings))
        total = steps * options.batch_size * len(pairs) * (options.rounds + 1)
        bar = stack.enter_context(Progress(total=total, description="reading"))
        for number in range(options.rounds + 1):
            for pair, process in processes.items():
                taken = process.tell([number * steps, steps])
                bar.advance(steps * options.batch_size)
                if number:
                    found[pair].append(taken)
    return found


def _name(form: str) -> str:
    chosen = FORMS[form]
    return NAME if chosen is None else NAME + chosen.suffix


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median of some figures, the smallest and the largest."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratio(rounds: Sequence[float], base: Sequence[float]) -> dict[str, float] | None:
    """Their ratio round by round; None where its spread is so large that it may be 1."""
    found = spread([one / other for one, other in zip(rounds, base, strict=True)])
    return None if found["least"] <= 1 <= found["most"] else found


def results(root: Path, found: Rounds) -> list[dict[str, Any]]:
    """What is said of each way and form, as JSON-able dicts."""
    rates = {
        (*pair, measure): [each["images"] / each[seconds] for each in rounds]
        for pair, rounds in found.items()
        for measure, seconds in _MEASURES.items()
    }
    kilobytes = {form: _kilobytes(root, form) for form in {form for _, form in found}}
    lines = []
    for reader, form in found:
        line: dict[str, Any] = {
            "reader": reader,
            "form": form,
            "kilobytes_per_image": kilobytes[form],
            "rounds": len(found[reader, form]),
        }
        for measure in _MEASURES:
            line[measure] = spread(rates[reader, form, measure])
        per_core = line["images_per_cpu_second"]["median"]
        line["cores_needed"] = {str(rate): math.ceil(10 * rate / per_core) / 10 for rate in NEEDED}
        for peer in PEERS:
            base = rates.get((peer, "originals", "images_per_cpu_second"))
            if base and (reader, form) != (peer, "originals"):
                own = rates[reader, form, "images_per_cpu_second"]
                line[f"times_{peer}_of_originals"] = ratio(own, base)
        lines.append(line)
    return lines


def _kilobytes(root: Path, form: str) -> float:
    """What an image takes, on the average."""
    source = PreparedSource(_name(form), "train", data_dir=os.fspath(root))
    return sum(len(source[i].image) for i in range(len(source))) / len(source) / 1000


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The same for a person."""
    peers = [peer for peer in PEERS if any(line["reader"] == peer for line in lines)]
    head = [
        "reader",
        "form",
        "KB",
        "images/CPU-s",
        "spread",
        "images/s",
        *(f"x {peer}" for peer in peers),
        f"cores for {NEEDED[0]:,} to {NEEDED[1]:,}/s",
    ]
    rows = []
    for line in lines:
        cpu, wall = line["images_per_cpu_second"], line["images_per_second"]
        times = []
        for peer in peers:
            key = f"times_{peer}_of_originals"
            value = line.get(key)
            text = "not told from 1" if key in line else "1"
            times.append(f"{value['median']:.2f}" if value else text)
        rows.append(
            [
                line["reader"],
                line["form"],
                f"{line['kilobytes_per_image']:.0f}",
                f"{cpu['median']:,.0f}",
                f"{cpu['least']:,.0f} to {cpu['most']:,.0f}",
                f"{wall['median']:,.0f}",
                *times,
                " to ".join(f"{cores:.1f}" for cores in line["cores_needed"].values()),
            ]
        )
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    )


def _forms(names: str) -> list[str]:
    for name in names.split(","):
        if name not in FORMS:
            raise unknown_name("--forms", name, tuple(FORMS))
    return names.split(",")


def _peers(names: str) -> list[str]:
    """The peers that were asked for, each found to be installed."""
    asked = [name for name in names.split(",") if name]
    for name in asked:
        if name not in PEERS:
            raise unknown_name("--compare", name, tuple(PEERS))
        module, packages = PEERS[name]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"--compare={name} needs {module}: `pip install {packages}`.")
    return asked


def main(argv: Sequence[str], output: Output) -> int:
    """Measures and prints; returns the exit status."""
    parser = Parser("python -m experiments.input_benchmark", __doc__)
    parser.add_argument("--compare", default="", help=f"peers, of {', '.join(PEERS)}")
    parser.add_argument("--forms", default=",".join(FORMS), help="that the images are stored in")
    parser.add_argument("--images", type=int, default=512, help="that there are")
    parser.add_argument("--images_per_round", type=int, default=1536, help="that are read in turn")
    parser.add_argument("--batch_size", type=int, default=64, help="of what is read")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken")
    parser.add_argument(
        "--threads", type=int, default=1, help="that each reads in; 1 is for one core"
    )
    parser.add_argument("--output", type=Path, help="also write the measurements as JSON here")
    options = parser.read(argv)
    for name in ("images", "images_per_round", "batch_size", "rounds", "threads"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name}={getattr(options, name)} must be 1 or more.")
    if options.images < options.batch_size:
        raise UserError(f"--images={options.images} do not fill one --batch_size.")
    peers = _peers(options.compare)
    forms = _forms(options.forms)
    pairs = [
        (reader, form)
        for form in forms
        for reader in (*_OURS, *peers)
        if "raw" not in form or reader == "jaxcnn"  # of pixels nothing is decoded
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_photographs(root, options.images)
        for name in forms:
            if (form := FORMS[name]) is not None:
                prepare_resized(NAME, folder, root, form)
        lines = results(root, measure(root, pairs, options))
    output.result(lines, "\n".join([*map(json.dumps, lines), table(lines)]))
    if options.output is not None:
        result = {
            "command": " ".join(["python -m experiments.input_benchmark", *argv]),
            "date": datetime.date.today().isoformat(),
            "cores": os.cpu_count(),
            "versions": environment.versions() | _versions(peers),
            "results": lines,
        }
        write_atomically(options.output, json.dumps(result, indent=2) + "\n")
    return 0


def _versions(peers: Sequence[str]) -> dict[str, str]:
    """Of what the figures depend on, as far as it is installed under that name."""
    names = ["pillow", "opencv-python-headless", "turbojpeg", "array_record"]
    names += [name for peer in peers for name in (PEERS[peer][0], *PEERS[peer][1].split())]
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


if __name__ == "__main__":
    sys.exit(run_main(main, "input_benchmark"))
