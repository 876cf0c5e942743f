# PYTHON_ARGCOMPLETE_OK
"""Finds the largest batch with which a training step fits the devices' memory.

    python -m experiments.largest_batch vgg_imagenet --config=d
    python -m experiments.largest_batch resnet_imagenet --config.train.remat=True --memory=24

It takes a recipe and its options, and compiles the recipe's training step for batches of various
sizes; nothing is computed, and nothing of their size is allocated. What a step takes on one device
is what XLA says of it: arguments, results and temporaries. That must fit the memory of the device,
which on a CPU is what is free of the machine's, or `--memory=GiB`.

The batch is that of all devices together, a multiple of their number and of train.accumulate.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments import environment
from experiments.any_recipe import asked_for
from experiments.config import Experiment
from experiments.images import augment_by
from experiments.network import on_devices
from experiments.parts import Parts, make_parts
from experiments.plain_training import batch_shapes, memory
from experiments.run import set_up_jax
from experiments.trainer import compiled_step
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.data.statistics import IMAGENET_STATISTICS
from jaxcnn.errors import UserError
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training.devices import Layout

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Tried:
    """A batch, and the bytes that its step takes on one device; None for more than it can have."""

    batch: int
    memory: int | None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status."""
    return run_main(_command, "largest_batch", sys.argv[1:] if argv is None else argv)


def _command(arguments: Sequence[str], output: Output) -> int:
    given = [option for option in arguments if option.startswith("--memory=")]
    asked = asked_for(
        "largest_batch",
        [option for option in arguments if option not in given],
        description=str(__doc__),
        own="[--memory=GiB]",
    )
    if asked is None:
        return 0
    name, preset, config = asked
    config.check()
    if config.parallel.coordinator is not None or config.parallel.detect:
        raise UserError(
            "the largest batch is found by one process, on its own devices; leave out "
            "parallel.coordinator and parallel.detect, and multiply."
        )
    limit = _gibibytes(given[-1]) if given else None
    set_up_jax(config.parallel)
    print(f"{name} {preset}: a training step's memory on one device", flush=True)
    largest, sentence = found(config, limit)
    output.result({"batch_size": largest.batch, "memory_bytes": largest.memory}, sentence)
    return 0


def _gibibytes(option: str) -> int:
    """The bytes of ``--memory=GiB``."""
    try:
        value = float(option.partition("=")[2])
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise UserError(f"{option} must be a number of GiB above 0, such as --memory=24.")
    return int(value * _GIB)


def found(config: Experiment, limit: int | None) -> tuple[Tried, str]:
    """Tries batches, printing each, and gives the largest that fits, and a sentence that says so.

    Args:
      config: the recipe's configuration.
      limit: bytes of one device; None for what it has.

    Raises:
      UserError: not even the smallest fits, or what the devices have is not known.
    """
    parts = make_parts(config)
    layout, examples = parts.layout, len(parts.data.train)
    limit = limit or available(layout)
    hardware = environment.hardware(layout.devices)
    print(f"{'batch':>8}{'GiB':>10}   of {limit / _GIB:.3f} GiB on {hardware}")

    def try_batch(batch: int) -> Tried:
        tried = Tried(batch, _step_memory(config, parts, batch))
        size = "too much" if tried.memory is None else f"{tried.memory / _GIB:.3f}"
        fits = "" if _fits(tried, limit) else "   does not fit"
        print(f"{batch:>8}{size:>10}{fits}", flush=True)
        return tried

    unit = layout.batch_parts * config.train.accumulate
    largest = search(try_batch, unit=unit, most=examples - examples % unit, limit=limit)
    if largest is None:
        hint = "" if config.train.remat else "; --config.train.remat=True takes less"
        raise UserError(
            f"not even a batch of {unit} fits the {limit / _GIB:.3f} GiB of one device{hint}, and "
            "so do smaller images (data.image_size) or model.dtype=bfloat16."
        )
    each = largest.batch // layout.batch_parts
    told = f"The largest batch that fits is --config.train.batch_size={largest.batch}"
    told += f", {each} on each of {layout.batch_parts} devices" if layout.batch_parts > 1 else ""
    return largest, told + (", all training images." if largest.batch + unit > examples else ".")


def search(try_batch: Callable[[int], Tried], *, unit: int, most: int, limit: int) -> Tried | None:
    """The largest multiple of ``unit`` up to ``most`` that fits; None where none does.

    Memory grows about in proportion to the batch: the next one that is tried is where a straight
    line meets the limit, but every fourth one is in the middle of what is open.
    """
    known = [try_batch(unit)]
    fits, too_large = None, unit
    if _fits(known[0], limit):
        fits, too_large = known[0], most + unit
    while fits is not None and too_large - fits.batch > unit:
        batch = (fits.batch + too_large) // 2
        if len(known) % 4:
            batch = _estimate(known, limit)
        batch -= batch % unit
        tried = try_batch(max(fits.batch + unit, min(batch, too_large - unit)))
        known.append(tried)
        if _fits(tried, limit):
            fits = tried
        else:
            too_large = tried.batch
    return fits


def _fits(tried: Tried, limit: int) -> bool:
    return tried.memory is not None and tried.memory <= limit


def _estimate(known: Sequence[Tried], limit: int) -> int:
    """Where the line through the nearest below the limit and above it meets it.

    Where nothing is above, it is the line through the two that are nearest below.
    """
    sizes = sorted((t.batch, t.memory) for t in known if t.memory is not None)
    below = [size for size in sizes if size[1] <= limit]
    above = [size for size in sizes if size[1] > limit]
    ends = [*below[-2:], *above[:1]][-2:]
    if len(ends) < 2:
        return 2 * below[0][0]
    (one, low), (other, high) = ends
    return int(one + (limit - low) / max(high - low, 1) * (other - one))


def available(layout: Layout) -> int:
    """Bytes that one device has; of a CPU, its share of what is free of the machine's memory.

    Raises:
      UserError: it is not known.
    """
    device = layout.devices[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            raise UserError("the device does not say how much memory it has; give --memory=GiB.")
        return int(stats["bytes_limit"])
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024 // len(layout.devices)
    except (OSError, KeyError) as error:
        raise UserError("this machine does not say what is free; give --memory=GiB.") from error


def _step_memory(config: Experiment, parts: Parts, batch: int) -> int | None:
    """Bytes on one device of the step on such a batch; None where XLA cannot even compile it."""
    layout, data = parts.layout, parts.data
    size, _, channels = data.image_shape
    # Any numbers will do: it is the arrays' sizes that count.
    augment = augment_by(
        Preprocessing((0.0,) * channels, (1.0,) * channels),
        config,
        IMAGENET_STATISTICS if channels == 3 else None,
        num_classes=parts.model.num_classes,
        axis_name=layout.axis_name,
    )
    compile_step = functools.partial(
        compiled_step,
        config,
        on_devices(parts.model, layout, config.model.convolution),
        augment,
        layout,
        data.train_batches.steps_per_epoch,
    )
    shapes: Any = layout.shapes(parts.shapes, batch_shapes(batch, size, channels))
    try:
        return memory(compile_step(*shapes))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


if __name__ == "__main__":
    sys.exit(main())
