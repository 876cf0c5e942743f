"""What is checked and measured, in order: what matters most comes first."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any, Literal

from experiments.rigs.accelerator.processes import Order

# Those whose layers torchvision has too, the batch in training, and that in inference.
_NETWORKS = {
    "resnet50_v1_5": (256, 512),
    "vgg16": (128, 256),
    "alexnet_owt": (1024, 2048),
    "googlenet_bn": (256, 512),
}
_MODES = ("train", "inference")
_PEERS = ("torch-channels-last", "torch-compile")
PEAK = "matrix products in bfloat16"


@dataclasses.dataclass(frozen=True)
class Step:
    """One section of the result.

    Attributes:
      name: of the section.
      orders: carried out in turn; the section holds the results of all, and a key that is in
        several as the last has it.
      is_check: whether ``passed`` decides about the exit status.
      limit: seconds that it may take at most.
      like: the section of a speed that this speed is compared with and takes its batch from.
      absent: why it cannot be measured; None where it can.
    """

    name: str
    orders: tuple[Order, ...]
    is_check: bool = False
    limit: float = 120.0
    like: str | None = None
    absent: str | None = None


def speed_name(model: str, mode: str) -> str:
    """The section of a network's speed."""
    return f"speed of {model}, {'training' if mode == 'train' else mode}"


def _task(model: str, mode: str, *, smallest: bool) -> dict[str, Any]:
    batch = 4 if smallest else _NETWORKS[model][_MODES.index(mode)]
    return {
        "model": model,
        "mode": mode,
        "batch_size": batch,
        "image_size": 32 if smallest else 224,
        "num_classes": 10 if smallest else 1000,
        "dtype": "bfloat16",
        "devices": 1,
    }


def _speed(model: str, mode: str, *, smallest: bool) -> Step:
    arguments = {
        "name": "jaxcnn",
        "task": _task(model, mode, smallest=smallest),
        "rounds": 2 if smallest else 5,
    }
    return Step(speed_name(model, mode), (Order("speed.measure", arguments),))


def _beside(
    step: Step, prefix: str, contestant: str, function: str, mode: Literal["deterministic", "torch"]
) -> Step:
    """The task of a speed by another contestant."""
    arguments = {**step.orders[0].arguments, "name": contestant}
    return Step(f"{prefix}: {step.name}", (Order(function, arguments, mode),), like=step.name)


def make_plan(folder: str, *, smallest: bool) -> list[Step]:
    """The steps in order.

    Args:
      folder: an empty one, for checkpoints.
      smallest: tiny networks and batches, for a CPU.
    """
    models: Sequence[str] = ("mnist_cnn",) if smallest else tuple(_NETWORKS)
    speeds = [_speed(model, mode, smallest=smallest) for model in models for mode in _MODES]
    training = [step for step in speeds if step.orders[0].arguments["task"]["mode"] == "train"]
    rounds = 1 if smallest else 5
    in_folder = {"folder": folder}
    products = [
        Step(
            f"matrix products in {dtype}",
            (Order("machine.peak", {"dtype": dtype, "rounds": rounds}),),
        )
        for dtype in ("bfloat16", "float32")
    ]
    digits = Order("digits.digits", {"epochs": 12, "smallest": smallest})
    # Their programs are compiled already, so that they cost a few seconds each.
    traces = [
        Step(
            f"most expensive operations of {step.orders[0].arguments['task']['model']}",
            (Order("trace.operations", {"task": step.orders[0].arguments["task"]}),),
            like=step.name,
        )
        for step in training
    ]
    deterministic = [
        _beside(step, "deterministic", "deterministic", "speed.measure", "deterministic")
        for step in training[:2]
    ]
    if absent := _without_peers(smallest):
        peers = [Step("torchvision", (), absent=absent)]
    else:
        peers = [
            _beside(step, peer, peer, "speed.measure_peer", "torch")
            for step in speeds
            for peer in _PEERS
        ]
    return [
        Step("environment", (Order("machine.describe", mode="deterministic"),)),
        Step(
            "a resumed training is the uninterrupted one, in deterministic mode",
            (
                Order("checks.uninterrupted", in_folder, "deterministic"),
                Order("checks.resumed", in_folder, "deterministic", fresh=True),
            ),
            is_check=True,
        ),
        _check("jit and pmap agree", Order("checks.jit_and_pmap", mode="deterministic")),
        _check("a NaN step is left out", Order("checks.nan_step", mode="deterministic")),
        *products,
        *speeds,
        _check("a small VGG reads 98 % of the digits", digits),
        *traces,
        *deterministic,
        *peers,
    ]


def _check(name: str, order: Order) -> Step:
    return Step(name, (order,), is_check=True)


def _without_peers(smallest: bool) -> str | None:
    """Why torchvision's networks cannot be measured; None where they can."""
    missing = [name for name in ("torch", "torchvision") if not _installed(name)]
    if missing:
        return f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed"
    if smallest:
        return "the smallest form measures no peers"
    return None


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
