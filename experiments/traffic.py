# PYTHON_ARGCOMPLETE_OK
"""What devices exchange in a step of training, with and without its large layers split over them.

    python -m experiments.traffic --model=vgg16 --devices=8 --batch_size=128

Side by side are data parallelism by jit and by pmap, and the fully connected layers laid over a row
of 2, 4, ... devices (``--config.parallel.model`` of a run; Krizhevsky 2014, arXiv 1404.5997): the
bytes that each device sends in a step, and receives, and its memory as XLA plans it. The step is
compiled and not run. Where the machine has too few devices it is compiled for as many virtual ones
of its CPU, for which XLA makes the same exchanges.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.plain_training import batch_shapes, memory, plain_training
from jaxcnn import models
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.split import Split
from jaxcnn.training.traffic import Exchange, exchanges, sent_by_kind

_VIRTUAL = "--xla_force_host_platform_device_count"
# Only the code of each device is made in less time; what they exchange is settled before.
_QUICKLY = {"cpu": {"xla_backend_optimization_level": 0}}


@dataclasses.dataclass(frozen=True)
class Column:
    """A step over the devices in one way.

    Attributes:
      name: 'jit' or 'pmap' where each device has all layers, or 'model=' and how many share them.
      layers: those that are split.
      exchanges: what the devices exchange.
      memory: bytes; None where unknown.
    """

    name: str
    layers: list[str]
    exchanges: list[Exchange]
    memory: int | None

    @property
    def sent(self) -> dict[str, int]:
        """Bytes that each device sends, by the kind of exchange."""
        return sent_by_kind(self.exchanges)


def columns(arguments: argparse.Namespace, rows: Sequence[int] | None = None) -> list[Column]:
    """The step by jit and by pmap, and with layers split.

    Args:
      arguments: the network, its images and the devices, as the command takes them.
      rows: how many devices share a layer, each time; None for each number that the devices, and
        the layers, can be divided by.

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
    if rows is None:
        rows = [model for model in range(2, len(devices) + 1) if len(devices) % model == 0]
    splits = [Split(arguments.split, model) for model in rows]
    if arguments.split is not None:
        for split in splits:
            split.check(state.params)
    whole, mapped = JitLayout(devices), PmapLayout(devices)
    _, mapped_step = plain_training(network.clone(axis_name=mapped.axis_name), arguments.image_size)
    ways: list[tuple[str, list[str], JitLayout | PmapLayout, Callable[..., Any]]] = [
        ("jit", [], whole, step),
        ("pmap", [], mapped, mapped_step),
    ]
    for split in splits:
        if layers := split.names(state.params):
            ways.append((f"model={split.parts}", layers, JitLayout(devices, split), step))
    found = []
    for name, layers, layout, laid in ways:
        lowered = layout.compile(laid, donate=(0,)).lower(*layout.shapes(state, batch))
        executable = lowered.compile(compiler_options=_QUICKLY.get(devices[0].platform))
        found.append(Column(name, layers, exchanges(executable.as_text()), memory(executable)))
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
            row("", [c.name for c in found]),
            *(row(kind, mebibytes([c.sent.get(kind, 0) for c in found])) for kind in kinds),
            row("sent in a step", mebibytes(totals)),
            row("of the first", [f"{total / max(totals[0], 1):.1%}" for total in totals]),
            row("memory", mebibytes([c.memory for c in found])),
        ]
    )


def main(argv: Sequence[str], output: Output) -> int:
    """Compiles and prints; returns the exit status."""
    parser = Parser("python -m experiments.traffic", __doc__)
    parser.add_argument("--model", default="alexnet", help="a registered name")
    parser.add_argument("--devices", type=int, default=8, help="that share the batch")
    parser.add_argument("--batch_size", type=int, default=128, help="over all")
    parser.add_argument("--image_size", type=int, default=224, help="pixels")
    parser.add_argument("--num_classes", type=int, default=1000, help="that it tells apart")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation"
    )
    parser.add_argument("--split", help="as --config.parallel.split (default: fully connected)")
    arguments = parser.read(argv)
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
        return with_virtual_devices("experiments.traffic", [*argv, *output.words], devices)
    found = columns(arguments)
    kind = jax.devices()[0].device_kind
    lines = [
        f"{arguments.model}, batch {arguments.batch_size}, "
        f"{arguments.image_size}x{arguments.image_size}, {arguments.dtype}, over {devices} devices "
        f"({kind}); each sends, in MiB:",
        table(found),
        "Split:",
        *(f"  {each.name}: {', '.join(each.layers)}" for each in found if each.layers),
    ]
    output.result([vars(each) for each in found], "\n".join(lines))
    return 0


def with_virtual_devices(module: str, argv: Sequence[str], count: int) -> int:
    """A command in a process of its own: a process settles once what devices it has."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_VIRTUAL}={count}".strip()
    command = [sys.executable, "-m", module, *argv]
    virtual = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=os.environ | virtual, check=False).returncode


if __name__ == "__main__":
    sys.exit(run_main(main, "traffic"))
