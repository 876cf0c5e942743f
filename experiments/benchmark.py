# PYTHON_ARGCOMPLETE_OK
"""How fast a network trains and infers on this machine, against its peak and beside its peers.

    python -m experiments.benchmark --model=vgg16
    python -m experiments.benchmark --model=vgg16 --mode=inference --batch_size=1 --dtype=bfloat16
    python -m experiments.benchmark --model=vgg16 --compare=torch-channels-last,keras,flax

It prints steps/s and images/s (the median over rounds, with the slowest and the fastest), the time
to compile, peak memory, the bytes that each device sends to others in a step, and the share of the
machine's matrix-product peak: the floating-point operations that XLA counts in the step, over the
time of the step, over what a large product of square matrices of the same type reaches in the same
run, on as many devices.

With --compare it prints a line of JSON for this network and for each peer, measured in turns, each
in a process of its own, and a table. The peers are 'flax' (the same network of Flax's own layers),
'keras' (keras.applications on JAX), 'torch', 'torch-channels-last' and 'torch-compile' (those of
torchvision: eager, in the layout that is fastest, and that by torch.compile). Ours start with their
memory in large pages (`experiments.large_pages`), peers as their users start them, or, with
--large_pages, in them too.

Two more are ours: the same batch by 'one-device' of those there are, which shows what sharing it
costs, and by as many in 'deterministic' mode (``--config.parallel.deterministic`` of a run), which
shows what that costs.
"""

import argparse
import dataclasses
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import environment
from experiments.comparison import compare, lines, summary, table
from experiments.contestants import PEERS, Task, check_peer
from experiments.contestants.ours import compile_step, layout_for, peak_memory
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError
from jaxcnn.files import read_object, write_atomically
from jaxcnn.training.devices import Layout

# The side of the square matrices: large enough to fill the device, small enough to be quick.
_PEAK_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


def measure_rounds(advance: Callable[[], Any], *, rounds: int, steps: int) -> list[float]:
    """Seconds a step in each of ``rounds`` rounds of ``steps`` steps, after one that warms up."""
    jax.block_until_ready(advance())
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(steps):
            last = advance()
        jax.block_until_ready(last)
        times.append((time.perf_counter() - start) / steps)
    return times


def matrix_product_peak(layout: Layout, dtype: jnp.dtype, *, rounds: int) -> float:
    """Floating-point operations per second of square matrix products on all devices at once."""
    side = _PEAK_SIDE.get(layout.devices[0].platform, 4096)
    random = np.random.default_rng(0)  # not zeros: some hardware multiplies those faster
    values = random.normal(size=(len(layout.devices), side, side)).astype(np.float32)
    matrices = layout.place({"matrices": values})["matrices"].astype(dtype)
    product = jax.jit(lambda x: jnp.einsum("...ij,...jk->...ik", x, x))
    times = measure_rounds(lambda: product(matrices), rounds=rounds, steps=3)
    return len(layout.devices) * 2 * side**3 / min(times)


def _task(arguments: argparse.Namespace) -> Task:
    names = [field.name for field in dataclasses.fields(Task)]
    return Task(**{name: getattr(arguments, name) for name in names})


def _circumstances(arguments: argparse.Namespace, devices: Sequence[jax.Device]) -> dict[str, Any]:
    """What a figure depends on, but for the versions."""
    return {
        "command": f"python -m experiments.benchmark {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": environment.hardware(devices),
        "processor": environment.processor(),
        # Large pages alone change what a CPU does by a fifth and more.
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "large_pages_for_peers": arguments.large_pages,
        **dataclasses.asdict(_task(arguments)),
        "rounds": arguments.rounds,
        "steps": arguments.steps,
    }


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurements of one network, as a JSON-able dict.

    Raises:
      UserError: the arguments cannot work.
    """
    task = _task(arguments)
    layout = layout_for(task)
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is measured
    try:
        step = compile_step(task, layout)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    times = measure_rounds(step.advance, rounds=arguments.rounds, steps=arguments.steps)
    memory = peak_memory(layout.devices[0])
    peak = matrix_product_peak(layout, jnp.dtype(arguments.dtype), rounds=arguments.rounds)
    median, operations = statistics.median(times), step.count_operations()
    return {
        **_circumstances(arguments, layout.devices),
        "versions": environment.versions(),
        "steps_per_second": 1 / median,
        "images_per_second": arguments.batch_size / median,
        "images_per_second_slowest": arguments.batch_size / max(times),
        "images_per_second_fastest": arguments.batch_size / min(times),
        "compile_seconds": step.seconds,
        "peak_memory_bytes": memory,
        "step_memory_bytes": step.memory,
        "step_exchanged_bytes": sum(step.exchanged.values()),
        "gigaflop_per_step": operations / 1e9,
        "gigaflop_per_second": operations / median / 1e9,
        "matrix_product_gigaflop_per_second": peak / 1e9,
        "share_of_peak": operations / median / peak,
    }


def side_by_side(arguments: argparse.Namespace, output: Output) -> dict[str, Any]:
    """The measurements of one network and its peers, as a JSON-able dict; printed as they come.

    Raises:
      UserError: there is no such peer, its packages are missing, or it cannot do the task.
    """
    for peer in arguments.compare:
        check_peer(peer)
    task = _task(arguments)
    measured = compare(
        ["jaxcnn", *arguments.compare],
        task,
        rounds=arguments.rounds,
        steps=arguments.steps,
        large_pages=arguments.large_pages,
    )
    contestants = lines(measured, task)
    words = [*map(json.dumps, contestants), table(contestants)]
    output.result(contestants, "\n".join(words))
    return {**_circumstances(arguments, jax.devices()), "contestants": contestants}


def _recorded(file: Path) -> dict[str, Any]:
    try:
        result = read_object(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); give what --output wrote.") from error
    if "contestants" not in result:
        raise UserError(f"{file} holds no comparison; give what --compare writes by --output.")
    return result


def text(result: dict[str, Any]) -> str:
    """The measurements as a person reads them."""
    step_memory = result["step_memory_bytes"]
    sent = result.get("step_exchanged_bytes")
    exchanged = (
        [f"  exchanged        {sent / 2**20:.2f} MiB in a step, by each device"] if sent else []
    )
    compiled = f"; the compiled step {step_memory / 2**30:.2f} GiB" if step_memory else ""
    return "\n".join(
        [
            f"{result['model']}, {result['mode']}, batch {result['batch_size']}, "
            f"{result['image_size']}x{result['image_size']}, {result['dtype']}, "
            f"on {result['hardware']}",
            f"  steps/s          {result['steps_per_second']:.3f}",
            f"  images/s         {result['images_per_second']:.2f} (median of {result['rounds']} "
            f"rounds of {result['steps']} steps; {result['images_per_second_slowest']:.2f} to "
            f"{result['images_per_second_fastest']:.2f})",
            f"  compile time     {result['compile_seconds']:.1f} s",
            f"  peak memory      {result['peak_memory_bytes'] / 2**30:.2f} GiB{compiled}",
            *exchanged,
            f"  share of peak    {result['share_of_peak']:.1%} "
            f"({result['gigaflop_per_second']:,.0f} of the "
            f"{result['matrix_product_gigaflop_per_second']:,.0f} GFLOP/s of matrix products)",
        ]
    )


def main(argv: Sequence[str], output: Output) -> int:
    """Measures and prints; returns the exit status."""
    parser = Parser("python -m experiments.benchmark", __doc__)
    parser.add_argument("--model", default="vgg16", help="a registered name")
    parser.add_argument(
        "--mode", choices=("train", "inference"), default="train", help="what is measured"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="over all devices")
    parser.add_argument("--image_size", type=int, default=224, help="pixels")
    parser.add_argument("--num_classes", type=int, default=1000, help="that it tells apart")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation"
    )
    parser.add_argument("--devices", type=int, help="the first so many (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--steps", type=int, default=3, help="in a round")
    parser.add_argument(
        "--convolution",
        choices=("auto", "xla", "products"),
        default="auto",
        help="how ours are computed, as model.convolution of a configuration",
    )
    parser.add_argument(
        "--compare",
        type=lambda names: tuple(name for name in names.split(",") if name),
        default=(),
        metavar="PEER,...",
        help=f"also measure these, in turns: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--large_pages",
        action="store_true",
        help="peers have their memory in large pages too, as our commands have (glibc on Linux)",
    )
    parser.add_argument(
        "--summary",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing: print a table of what --compare has written by --output",
    )
    parser.add_argument("--output", type=Path, help="also write the measurements as JSON here")
    arguments = parser.read(argv)
    for name in ("batch_size", "image_size", "num_classes", "rounds", "steps"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}={getattr(arguments, name)} must be 1 or more.")
    if arguments.summary:
        recorded = [_recorded(file) for file in arguments.summary]
        output.result(recorded, summary(recorded))
        return 0
    if arguments.compare:
        result = side_by_side(arguments, output)
    else:
        result = benchmark(arguments)
        output.result(result, text(result))
    if arguments.output is not None:
        write_atomically(arguments.output, json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "benchmark"))
