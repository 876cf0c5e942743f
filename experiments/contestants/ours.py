"""The networks of jaxcnn, in the steps that train and evaluate them."""

import dataclasses
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import environment
from experiments.contestants import Contestant, Task
from experiments.network import on_devices
from experiments.plain_training import NORMALISE, batch_shapes, memory, plain_training
from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.randomness import Purpose, host_generator
from jaxcnn.training.determinism import demand_determinism
from jaxcnn.training.devices import Layout, ParallelConfig, make_layout
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.steps import make_eval_step
from jaxcnn.training.traffic import exchanged_bytes


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A step ready to be timed.

    Attributes:
      advance: runs the step once and returns what to wait for.
      seconds: what compiling it took.
      count_operations: gives the floating-point operations of a step over all devices, as XLA
        counts them.
      memory: bytes on one device: arguments, results and temporaries; None where unknown.
      exchanged: bytes that one device sends in a step, by the kind of exchange.
    """

    advance: Callable[[], Any]
    seconds: float
    count_operations: Callable[[], float]
    memory: int | None
    exchanged: Mapping[str, int]


def layout_for(task: Task, *, plainly: bool = False) -> Layout:
    """The devices of a task.

    Args:
      task: says how many.
      plainly: compile without the options that are faster.

    Raises:
      UserError: there are not so many, or they cannot share the batch.
    """
    layout = make_layout(ParallelConfig(devices=task.devices), plainly=plainly)
    if task.batch_size % len(layout.devices):
        raise UserError(
            f"--batch_size={task.batch_size} cannot be divided over {len(layout.devices)} "
            "devices; give a multiple, or fewer by --devices."
        )
    return layout


def compile_step(task: Task, layout: Layout) -> Compiled:
    """The training or the evaluation step of a network on random images, compiled.

    Raises:
      UserError: there is no such network, or the images are too small for it.
    """
    plain = models.create_model(
        task.model, dtype=jnp.dtype(task.dtype), num_classes=task.num_classes
    )
    random = host_generator(0, Purpose.BENCHMARK, 0)
    shapes = batch_shapes(task.batch_size, task.image_size)
    count, image = task.batch_size, shapes["image"]
    batch = layout.place(
        {
            "image": random.integers(0, 256, image.shape, dtype=image.dtype),
            "label": random.integers(0, task.num_classes, count).astype(np.int32),
            "index": np.arange(count, dtype=np.int32),
            "weight": np.ones(count, np.float32),
        }
    )
    create, _ = plain_training(plain, task.image_size)
    jax.eval_shape(create)  # images too small for the network are seen before anything slow
    state = layout.replicate(jax.jit(create)())

    def lowered(convolution: str) -> tuple[Any, list[Any]]:
        model = on_devices(plain, layout, convolution)
        if task.mode == "train":
            _, step = plain_training(model, task.image_size)
            inputs: list[Any] = [state, batch]
            return layout.compile(step, donate=(0,)).lower(*inputs), inputs
        sums = layout.replicate(ClassSums.zeros(task.num_classes))
        step = layout.compile(make_eval_step(model, NORMALISE), donate=(1,))
        inputs = [state.variables(), sums, batch]
        return step.lower(*inputs), inputs

    def count_operations() -> float:
        # Of what each device computes by itself, as our convolutions, XLA counts one device's.
        of_all, _ = lowered("xla")
        return float(of_all.cost_analysis()["flops"])

    start = time.perf_counter()
    to_compile, inputs = lowered(task.convolution)
    executable = to_compile.compile()
    seconds = time.perf_counter() - start
    # What a step gives is what the next one takes: the state, or the evaluation's sums.
    carried = {"train": 0, "inference": 1}[task.mode]

    def advance() -> Any:
        result = executable(*inputs)
        inputs[carried] = result[0] if task.mode == "train" else result
        return result

    return Compiled(
        advance=advance,
        seconds=seconds,
        count_operations=count_operations,
        memory=memory(executable),
        exchanged=exchanged_bytes(executable.as_text()),
    )


def peak_memory(device: jax.Device) -> int:
    """The most bytes in use so far: on a device, or on CPU by this process."""
    on_device = device.memory_stats()
    if on_device is not None and "peak_bytes_in_use" in on_device:
        return int(on_device["peak_bytes_in_use"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepare(
    task: Task, *, devices: int | None = None, deterministic: bool = False, plainly: bool = False
) -> Contestant:
    """Compiles the step.

    Args:
      task: what is computed.
      devices: how many of the task's devices compute it; None for all.
      deterministic: as ``parallel.deterministic`` of a configuration.
      plainly: without the compiler options that are faster.

    Raises:
      UserError: there is no such network, or the images are too small for it.
    """
    if deterministic:
        demand_determinism()
    if devices is not None:
        task = dataclasses.replace(task, devices=devices)
    layout = layout_for(task, plainly=plainly)
    compiled = compile_step(task, layout)
    started: list[Any] = []

    def advance() -> None:
        started[:] = [compiled.advance()]

    return Contestant(
        advance=advance,
        wait=lambda: jax.block_until_ready(started),
        versions={name: environment.versions()[name] for name in ("jaxcnn", "jax", "flax")},
        peak_memory=lambda: peak_memory(layout.devices[0]),
    )
