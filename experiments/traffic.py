"""What devices exchange in a step of training, with and without its large layers split over them.

    python -m experiments.traffic --model=vgg16 --devices=8 --batch_size=128

Side by side are data parallelism and the fully connected layers laid over a row of 2, 4, ...
devices (``--config.parallel.model`` of a run; Krizhevsky 2014, arXiv 1404.5997): the bytes that
each device sends in a step, and receives, and its memory as XLA plans it. The step is compiled and
not run. Where the machine has too few devices it is compiled for as many virtual ones of its CPU,
for which XLA makes the same exchanges.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from experiments.commandline import run_main
from experiments.plain_training import batch_shapes, memory, plain_training
from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.training.layouts import JitLayout
from jaxcnn.training.split import Split
from jaxcnn.training.traffic import exchanged_bytes

_VIRTUAL = "--xla_force_host_platform_device_count"
# Only the code of each device is made in less time; what they exchange is settled before.
_QUICKLY = {"cpu": {"xla_backend_optimization_level": 0}}


@dataclasses.dataclass(frozen=True)
class Column:
    """A step over the devices in one way.

    Attributes:
      model: how many devices a layer is split over.
      layers: those that are.
      sent: bytes, by the kind of exchange.
      memory: bytes; None where unknown.
    """

    model: int
    layers: list[str]
    sent: Mapping[str, int]
    memory: int | None


def columns(arguments: argparse.Namespace) -> list[Column]:
    """The step over rows of every length that the devices, and the layers, can be divided into.

    Raises:
      UserError: there is no such network, the images are too small for it, or the layers that are
        asked for cannot be split.
    """
    network = models.create_model(
        arguments.model, dtype=jnp.dtype(arguments.dtype), num_classes=arguments.num_classes
    )
    create, step = plain_training(network, arguments.image_size)
    state = jax.eval_shape(create)
    batch = batch_shapes(arguments.batch_size, arguments.image_size)
    devices = tuple(jax.devices()[: arguments.devices])
    options = _QUICKLY.get(devices[0].platform)
    rows = [model for model in range(1, len(devices) + 1) if len(devices) % model == 0]
    splits = [Split(arguments.split, model) for model in rows]
    if arguments.split is not None:
        for split in splits:
            split.check(state.params)
    found = []
    for split in splits:
        layers = split.names(state.params)
        if split.parts > 1 and not layers:
            continue
        layout = JitLayout(devices, split)
        lowered = layout.compile(step, donate=(0,)).lower(*layout.shapes(state, batch))
        executable = lowered.compile(compiler_options=options)
        sent = exchanged_bytes(executable.as_text())
        found.append(Column(split.parts, layers, sent, memory(executable)))
    return found


def table(found: Sequence[Column]) -> str:
    """The steps side by side, in MiB."""
    totals = [sum(each.sent.values()) for each in found]

    def row(name: str, values: Sequence[object]) -> str:
        return f"  {name:<20}" + "".join(f"{value:>12}" for value in values)

    def mebibytes(values: Sequence[int | None]) -> list[str]:
        return ["?" if value is None else f"{value / 2**20:.2f}" for value in values]

    kinds = dict.fromkeys(kind for each in found for kind in each.sent)
    return "\n".join(
        [
            row("", ["all data" if c.model == 1 else f"model={c.model}" for c in found]),
            *(row(kind, mebibytes([c.sent.get(kind, 0) for c in found])) for kind in kinds),
            row("sent in a step", mebibytes(totals)),
            row("of the first", [f"{total / max(totals[0], 1):.1%}" for total in totals]),
            row("memory", mebibytes([c.memory for c in found])),
        ]
    )


def main(argv: Sequence[str]) -> int:
    """Compiles and prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.traffic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="alexnet", help="a registered name (default: alexnet)")
    parser.add_argument("--devices", type=int, default=8, help="(default: 8)")
    parser.add_argument("--batch_size", type=int, default=128, help="over all (default: 128)")
    parser.add_argument("--image_size", type=int, default=224, help="pixels (default: 224)")
    parser.add_argument("--num_classes", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--split", help="as --config.parallel.split (default: fully connected)")
    arguments = parser.parse_args(argv)
    for name in ("devices", "batch_size", "image_size", "num_classes"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}={getattr(arguments, name)} must be 1 or more.")
    devices = arguments.devices
    if arguments.batch_size % devices:
        raise UserError(
            f"--batch_size={arguments.batch_size} cannot be divided over {devices} devices; give a "
            "multiple, or others by --devices."
        )
    if len(jax.devices()) < devices:
        return _with_virtual_devices(argv, devices)
    found = columns(arguments)
    kind = jax.devices()[0].device_kind
    print(
        f"{arguments.model}, batch {arguments.batch_size}, "
        f"{arguments.image_size}x{arguments.image_size}, {arguments.dtype}, over {devices} devices "
        f"({kind}); each sends, in MiB:"
    )
    print(table(found))
    print("Split:")
    for each in found[1:]:
        print(f"  model={each.model}: {', '.join(each.layers)}")
    return 0


def _with_virtual_devices(argv: Sequence[str], count: int) -> int:
    """The same in a process of its own: a process settles once what devices it has."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_VIRTUAL}={count}".strip()
    command = [sys.executable, "-m", "experiments.traffic", *argv]
    virtual = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=os.environ | virtual, check=False).returncode


if __name__ == "__main__":
    sys.exit(run_main(main, "traffic"))
