"""How fast a network trains and infers on one device, ours and torchvision's alike."""

import gc
import math
import statistics
import time
from collections.abc import Mapping
from typing import Any

from experiments.contestants import Contestant, Task, prepare
from jaxcnn.inspection.summary import summarize
from jaxcnn.models import create_model

_ROUND = 0.5  # seconds
_MOST_STEPS = 50
_SMALLEST_SHARE = 8  # of the batch, where memory is short
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "OutOfMemory")


def measure(name: str, task: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Images per second and milliseconds per step of one network.

    A batch that does not fit in memory is halved, up to three times. Compilation and the first
    steps are not part of the time.

    Args:
      name: of a contestant, such as 'jaxcnn', 'deterministic' or 'torch-compile'.
      task: the fields of a `Task`.
      rounds: each of about half a second; figures are the median, the slowest and the fastest.
    """
    wanted = Task(**task)
    batch_size = wanted.batch_size
    while True:
        gc.collect()  # what an earlier network had in memory
        asked = Task(**{**task, "batch_size": batch_size})
        try:
            return _measured(name, asked, rounds) | {"batch_size_wanted": wanted.batch_size}
        except Exception as error:
            short = any(word in f"{type(error).__name__}: {error}" for word in _NO_MEMORY)
            if not short or batch_size // 2 < max(wanted.batch_size // _SMALLEST_SHARE, 1):
                raise
        batch_size //= 2


def _measured(name: str, task: Task, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    contestant = prepare(name, task)
    _seconds(contestant, 1)
    compiling = time.perf_counter() - start
    once = _seconds(contestant, 1)
    steps = max(1, min(_MOST_STEPS, math.ceil(_ROUND / once)))
    seconds = [_seconds(contestant, steps) / steps for _ in range(rounds)]
    median = statistics.median(seconds)
    operations = operations_per_image(task) * task.batch_size
    return {
        "contestant": name,
        "model": task.model,
        "mode": task.mode,
        "batch_size": task.batch_size,
        "image_size": task.image_size,
        "dtype": task.dtype,
        "images_per_second": task.batch_size / median,
        "images_per_second_slowest": task.batch_size / max(seconds),
        "images_per_second_fastest": task.batch_size / min(seconds),
        "milliseconds_per_step": 1000 * median,
        "rounds": rounds,
        "steps_in_a_round": steps,
        "seconds_to_first_step": compiling,
        "peak_memory_bytes": contestant.peak_memory(),
        "gigaflop_per_step": operations / 1e9,
        "flop_counted": "2 per multiply-add of convolutions and matrix products in evaluation"
        + ("; 3 times that for training" if task.mode == "train" else ""),
        "teraflop_per_second": operations / median / 1e12,
        "versions": dict(contestant.versions),
    }


def _seconds(contestant: Contestant, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        contestant.advance()
    contestant.wait()
    return time.perf_counter() - start


def operations_per_image(task: Task) -> int:
    """Floating-point operations by jaxcnn's own count of multiply-adds; no device is used."""
    model = create_model(task.model, num_classes=task.num_classes)
    # Traced on the CPU by shapes alone.
    summary = summarize(model, (task.image_size, task.image_size, 3))
    return 2 * summary.multiply_adds * (3 if task.mode == "train" else 1)


def measure_peer(name: str, task: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """As `measure`, for a peer in PyTorch: float32 weights, bfloat16 by autocast, one GPU."""
    import torch

    if not torch.cuda.is_available():
        return {"absent": "PyTorch sees no CUDA device"}
    torch.backends.cudnn.benchmark = True  # algorithms are timed, as XLA times them
    return {
        **measure(name, task, rounds),
        "device": torch.cuda.get_device_name(),
        "precision": "float32 weights, bfloat16 by torch.autocast",
    }
