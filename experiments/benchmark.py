"""How fast a network trains and infers on this machine, against the machine's own peak.

    python -m experiments.benchmark --model=vgg16
    python -m experiments.benchmark --model=vgg16 --mode=inference --batch_size=1 --dtype=bfloat16

It prints steps/s and images/s (the median over rounds, with the slowest and the fastest), the time
to compile, peak memory, the bytes that each device sends to others in a step, and the share of the
machine's matrix-product peak: the floating-point operations that XLA counts in the step, over the
time of the step, over what a large product of square matrices of the same type reaches in the same
run, on as many devices.
"""

import argparse
import dataclasses
import datetime
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import report
from experiments.commandline import run_main
from experiments.plain_training import NORMALISE, batch_shapes, memory, plain_training
from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.randomness import Purpose, host_generator
from jaxcnn.training.devices import Layout, ParallelConfig, make_layout
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.steps import make_eval_step
from jaxcnn.training.traffic import exchanged_bytes

# The side of the square matrices: large enough to fill the device, small enough to be quick.
_PEAK_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A step ready to be timed.

    Attributes:
      advance: runs the step once and returns what to wait for.
      seconds: what compiling it took.
      operations: floating-point operations of a step over all devices, as XLA counts them.
      memory: bytes on one device: arguments, results and temporaries; None where unknown.
      exchanged: bytes that one device sends in a step, by the kind of exchange.
    """

    advance: Callable[[], Any]
    seconds: float
    operations: float
    memory: int | None
    exchanged: Mapping[str, int]


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


def compile_step(arguments: argparse.Namespace, layout: Layout) -> Compiled:
    """The training or the evaluation step of a network on random images, compiled.

    Raises:
      UserError: there is no such network, or the images are too small for it.
    """
    model = models.create_model(
        arguments.model, dtype=jnp.dtype(arguments.dtype), num_classes=arguments.num_classes
    )
    random = host_generator(0, Purpose.BENCHMARK, 0)
    shapes = batch_shapes(arguments.batch_size, arguments.image_size)
    count, image = arguments.batch_size, shapes["image"]
    batch = layout.place(
        {
            "image": random.integers(0, 256, image.shape, dtype=image.dtype),
            "label": random.integers(0, arguments.num_classes, count).astype(np.int32),
            "index": np.arange(count, dtype=np.int32),
            "weight": np.ones(count, np.float32),
        }
    )
    create, step = plain_training(model, arguments.image_size)
    jax.eval_shape(create)  # images too small for the network are seen before anything slow
    state = layout.replicate(jax.jit(create)())

    inputs: tuple[Any, ...]
    if arguments.mode == "train":
        function, inputs = layout.compile(step, donate=(0,)), (state, batch)
    else:
        sums = layout.replicate(ClassSums.zeros(arguments.num_classes))
        function = layout.compile(make_eval_step(model, NORMALISE), donate=(1,))
        inputs = (state.variables(), sums, batch)

    start = time.perf_counter()
    lowered = function.lower(*inputs)
    executable = lowered.compile()
    seconds = time.perf_counter() - start
    # What a step gives is what the next one takes: the state, or the evaluation's sums.
    carried = {"train": 0, "inference": 1}[arguments.mode]
    waiting = list(inputs)

    def advance() -> Any:
        result = executable(*waiting)
        waiting[carried] = result[0] if arguments.mode == "train" else result
        return result

    return Compiled(
        advance=advance,
        seconds=seconds,
        operations=lowered.cost_analysis()["flops"],
        memory=memory(executable),
        exchanged=exchanged_bytes(executable.as_text()),
    )


def peak_memory(layout: Layout) -> int:
    """The most bytes in use so far: on the first device, or on CPU by this process."""
    on_device = layout.devices[0].memory_stats()
    if on_device is not None and "peak_bytes_in_use" in on_device:
        return on_device["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurements of one network, as a JSON-able dict.

    Raises:
      UserError: the arguments cannot work.
    """
    layout = make_layout(ParallelConfig(devices=arguments.devices))
    if arguments.batch_size % len(layout.devices):
        raise UserError(
            f"--batch_size={arguments.batch_size} cannot be divided over {len(layout.devices)} "
            "devices; give a multiple, or fewer by --devices."
        )
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is measured
    try:
        step = compile_step(arguments, layout)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    times = measure_rounds(step.advance, rounds=arguments.rounds, steps=arguments.steps)
    memory = peak_memory(layout)
    peak = matrix_product_peak(layout, jnp.dtype(arguments.dtype), rounds=arguments.rounds)
    median = statistics.median(times)
    return {
        "command": f"python -m experiments.benchmark {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": report.hardware(layout.devices),
        "versions": report.versions(),
        **{
            name: getattr(arguments, name)
            for name in ("model", "mode", "batch_size", "image_size", "dtype", "rounds", "steps")
        },
        "steps_per_second": 1 / median,
        "images_per_second": arguments.batch_size / median,
        "images_per_second_slowest": arguments.batch_size / max(times),
        "images_per_second_fastest": arguments.batch_size / min(times),
        "compile_seconds": step.seconds,
        "peak_memory_bytes": memory,
        "step_memory_bytes": step.memory,
        "step_exchanged_bytes": sum(step.exchanged.values()),
        "gigaflop_per_step": step.operations / 1e9,
        "gigaflop_per_second": step.operations / median / 1e9,
        "matrix_product_gigaflop_per_second": peak / 1e9,
        "share_of_peak": step.operations / median / peak,
    }


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


def main(argv: Sequence[str]) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="vgg16", help="a registered name (default: vgg16)")
    parser.add_argument("--mode", choices=("train", "inference"), default="train")
    parser.add_argument("--batch_size", type=int, default=8, help="over all devices (default: 8)")
    parser.add_argument("--image_size", type=int, default=224, help="pixels (default: 224)")
    parser.add_argument("--num_classes", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--devices", type=int, help="the first so many (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--steps", type=int, default=3, help="in a round (default: 3)")
    parser.add_argument("--output", type=Path, help="also write the measurements as JSON here")
    arguments = parser.parse_args(argv)
    for name in ("batch_size", "image_size", "num_classes", "rounds", "steps"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}={getattr(arguments, name)} must be 1 or more.")
    result = benchmark(arguments)
    print(text(result))
    if arguments.output is not None:
        write_atomically(arguments.output, json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "benchmark"))
