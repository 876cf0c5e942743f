"""The most expensive operations of one step, by the profiler of jax."""

import collections
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.contestants import Task
from experiments.contestants.ours import layout_for
from experiments.network import on_devices
from experiments.plain_training import batch_shapes, plain_training
from jaxcnn.models import create_model
from jaxcnn.randomness import Purpose, host_generator

_MOST = 10
# An instruction of a compiled program, and where in the source of the network it comes from.
_SOURCE = re.compile(
    r"^\s*(?:ROOT )?%?([\w.-]+) = .*metadata=\{.*?op_name=\"([^\"]*)\"", re.MULTILINE
)


def operations(task: Mapping[str, Any]) -> dict[str, Any]:
    """Traces one training step of our network and sums the times of its operations by name.

    Args:
      task: the fields of a `Task` that trains.

    Returns:
      ``operations``, or None there and the reason as ``absent``.
    """
    asked = Task(**task)
    described = {name: task[name] for name in ("model", "mode", "batch_size", "dtype")}
    advance, program = _training(asked)
    for _ in range(2):
        advance()
    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                advance()
            found = most_expensive(_events(Path(folder)), dict(_SOURCE.findall(program)))
    except (OSError, ValueError, KeyError) as error:
        reason = f"the trace cannot be read ({type(error).__name__}: {error})"
        return {**described, "operations": None, "absent": reason}
    return {**described, **found}


def _training(task: Task) -> tuple[Callable[[], None], str]:
    """What makes a step and waits for it, and the compiled program in XLA's words."""
    layout = layout_for(task)
    plain = create_model(task.model, dtype=jnp.dtype(task.dtype), num_classes=task.num_classes)
    create, step = plain_training(on_devices(plain, layout), task.image_size)
    shapes = batch_shapes(task.batch_size, task.image_size)
    random = host_generator(0, Purpose.BENCHMARK, 0)
    batch = layout.place(
        {
            "image": random.integers(0, 256, shapes["image"].shape, dtype=np.uint8),
            "label": random.integers(0, task.num_classes, task.batch_size).astype(np.int32),
            "index": np.arange(task.batch_size, dtype=np.int32),
            "weight": np.ones(task.batch_size, np.float32),
        }
    )
    state = layout.replicate(jax.jit(create)())
    executable = layout.compile(step, donate=(0,)).lower(state, batch).compile()

    def advance() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(executable(state, batch))

    return advance, executable.as_text()


def _events(folder: Path) -> list[dict[str, Any]]:
    """The events of all files of a trace.

    Raises:
      ValueError: there is none.
    """
    files = sorted(folder.rglob("*.trace.json.gz"))
    if not files:
        raise ValueError("the profiler wrote no trace.json.gz")
    events: list[dict[str, Any]] = []
    for file in files:
        with gzip.open(file) as stream:
            events += json.load(stream)["traceEvents"]
    return events


def most_expensive(
    events: Iterable[Mapping[str, Any]], sources: Mapping[str, str]
) -> dict[str, Any]:
    """The ten names with the longest sums of durations, of a Chrome trace.

    Of a GPU or TPU the lanes of the devices count: 'XLA Ops' where there is such a lane, else all
    streams. Without a device lane, as on CPU, events count that name an operation of XLA.

    Args:
      events: ``traceEvents``; durations are in microseconds.
      sources: from an operation to the layer and the function that it comes from.

    Raises:
      ValueError: no event is an operation.
    """
    processes: dict[Any, str] = {}
    threads: dict[tuple[Any, Any], str] = {}
    timed = []
    for event in events:
        if event.get("ph") == "M" and event.get("name") == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        elif event.get("ph") == "M" and event.get("name") == "thread_name":
            threads[event["pid"], event["tid"]] = event["args"]["name"]
        elif event.get("ph") == "X" and event.get("dur"):
            timed.append(event)
    lanes = {
        lane: name
        for lane, name in threads.items()
        if processes.get(lane[0], "").startswith("/device:")
    }
    by_operation = {lane for lane, name in lanes.items() if name.startswith("XLA Ops")}
    streams = by_operation or {lane for lane, name in lanes.items() if name.startswith("Stream")}
    if streams:
        where = "device lanes"
        chosen = [e for e in timed if (e["pid"], e["tid"]) in streams]
    else:
        where = "host threads of XLA"
        chosen = [e for e in timed if "hlo_op" in e.get("args", {})]
    if not chosen:
        raise ValueError("no event is an operation of XLA")
    durations: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    more: dict[str, dict[str, str]] = {}
    for event in chosen:
        arguments = event.get("args", {})
        name = str(arguments.get("hlo_op") or event["name"])
        durations[name] += event["dur"]
        calls[name] += 1
        kernel = {"kernel": event["name"]} if event["name"] != name else {}
        layer = sources.get(name) or arguments.get("tf_op")
        source = {"layer": layer} if layer else {}
        more.setdefault(name, {**kernel, **source})
    total = sum(durations.values())
    return {
        "counted": where,
        "milliseconds_in_all": total / 1000,
        "operations": [
            {
                "name": name,
                **more[name],
                "milliseconds": spent / 1000,
                "share": spent / total,
                "calls": calls[name],
            }
            for name, spent in durations.most_common(_MOST)
        ],
    }
