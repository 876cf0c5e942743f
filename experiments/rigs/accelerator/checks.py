"""Checks of training: that layouts agree, a resumed run is the same, a NaN is left out.

Each returns a JSON-able dict with ``passed`` and the figures that it was decided by. Where numbers
are compared the computation is in float32 with matrix products of the highest precision.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from experiments.network import on_devices
from experiments.plain_training import batch_shapes, plain_training
from experiments.rigs.accelerator.digits import held_out
from jaxcnn.models.layers import BatchNorm
from jaxcnn.models.vgg import VGG
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.devices import Layout, ParallelConfig, make_layout
from jaxcnn.training.steps import TrainState

_SIZE = 16  # pixels
_LEAST = 32  # images in a batch
_STEPS = 6
_SAVED_AFTER = 3  # steps
# Of float32: BatchNorm in three layers turns a rounding of 1e-7 into some 1e-5 of a gradient.
# Statistics of a device's own share, the mistake that is easily made, are off by 0.1 and more.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def network() -> nn.Module:
    """Three groups of VGG with BatchNorm and dropout, for images of 16 pixels."""
    return VGG(
        groups=((64, (3,)), (128, (3,)), (256, (3, 3))),
        num_classes=10,
        width=16,
        hidden=(32, 32),
        pooled_size=2,
        norm=BatchNorm,
        initialization="he",
    )


def _layout(mode: str) -> Layout:
    return make_layout(ParallelConfig(mode=mode))  # type: ignore[arg-type]


def batch_at(step: int, count: int) -> dict[str, np.ndarray]:
    """The batch of a step: digits, the next ``count`` of each step, as steps take them."""
    images, labels = held_out(_SIZE)[0]
    index = (np.arange(count) + step * count) % len(labels)
    return {
        "image": images[index],
        "label": labels[index],
        "index": index.astype(np.int32),
        "weight": np.ones(count, np.float32),
    }


def _batch_size(layout: Layout) -> int:
    parts = layout.batch_parts
    return parts * -(-_LEAST // parts)


@functools.cache
def _training(mode: str) -> tuple[Layout, Any, Any]:
    """The layout of a mode, what makes the first state on it, and the compiled step."""
    layout = _layout(mode)
    create, step = plain_training(on_devices(network(), layout), _SIZE)
    return layout, create, layout.compile(step)


def _run(
    mode: str, steps: Sequence[int], state: Any = None, *, weight: float = 1.0
) -> tuple[Any, list[float], list[bool]]:
    """The state, the losses and whether each update was made, after some steps."""
    layout, create, step = _training(mode)
    with jax.default_matmul_precision("highest"):
        if state is None:
            state = layout.distribute(jax.jit(create)())
        losses, finite = [], []
        for number in steps:
            batch = batch_at(number, _batch_size(layout))
            batch["weight"][-1] = weight  # on the last device
            state, metrics = step(state, layout.place(batch))
            losses.append(float(layout.fetch(metrics["loss"])))
            finite.append(bool(layout.fetch(metrics["finite"])))
    return state, losses, finite


def jit_and_pmap() -> dict[str, Any]:
    """Whether three steps of training under jit and under pmap give the same numbers.

    The sums of the gradients (the optimizer's velocity) are compared and not the parameters, in
    which a short training is lost among the digits.
    """
    states: list[TrainState] = []
    losses = []
    for mode in ("jit", "pmap"):
        state, of_mode, _ = _run(mode, range(3))
        states.append(_training(mode)[0].fetch(state))
        losses.append(of_mode)
    ours, others = states
    gradients, norm = _relative(ours.opt_state, others.opt_state)
    statistics, _ = _relative(ours.batch_stats, others.batch_stats)
    loss = float(np.max(np.abs(np.array(losses[0]) - np.array(losses[1]))))
    layout = _layout("jit")
    return {
        "passed": norm > 0
        and gradients < _RELATIVE
        and statistics < _ABSOLUTE
        and loss < _ABSOLUTE,
        "devices": len(layout.devices),
        "batch_size": _batch_size(layout),
        "steps": 3,
        "gradient_difference_relative": gradients,
        "statistics_difference_relative": statistics,
        "loss_difference": loss,
        "tolerances": {"gradient": _RELATIVE, "statistics": _ABSOLUTE, "loss": _ABSOLUTE},
    }


def _relative(ours: Any, others: Any) -> tuple[float, float]:
    """The norm of the difference over the norm of the second tree, and that norm."""

    def norm(tree: Any) -> float:
        return float(np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in tree)))

    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(others), strict=True))
    whole = norm([b for _, b in pairs])
    return norm([a - b for a, b in pairs]) / whole if whole else float("inf"), whole


def nan_step() -> dict[str, Any]:
    """Whether an update with a NaN in one example is left out on every device, and only it."""
    result: dict[str, Any] = {}
    for mode in ("jit", "pmap"):
        fetch = _training(mode)[0].fetch
        state, _, _ = _run(mode, [0])
        before = fetch(state)
        state, (loss,), (finite,) = _run(mode, [1], state, weight=float("nan"))
        during = fetch(state)
        state, _, (finite_after,) = _run(mode, [2], state)
        after = fetch(state)
        parts = ("params", "batch_stats", "opt_state")
        result[mode] = {
            "loss_is_nan": bool(np.isnan(loss)),
            "update_was_made": finite,
            "arrays_changed": sum(_changed(getattr(before, p), getattr(during, p)) for p in parts),
            "updates_left_out": int(during.left_out.updates),
            "next_update_was_made": finite_after,
            "arrays_changed_by_next": _changed(during.opt_state, after.opt_state),
        }
    passed = all(
        of["loss_is_nan"]
        and not of["update_was_made"]
        and of["arrays_changed"] == 0
        and of["updates_left_out"] == 1
        and of["next_update_was_made"]
        and of["arrays_changed_by_next"] > 0
        for of in result.values()
    )
    return {"passed": passed, **result}


def _changed(before: Any, after: Any) -> int:
    """How many arrays of a tree are not the same to the bit."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return sum(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)


def uninterrupted(folder: str) -> dict[str, Any]:
    """Trains without a break; leaves a checkpoint of the middle, and the end, for `resumed`.

    Args:
      folder: an empty one.
    """
    layout, _, _ = _training("jit")
    state, losses, _ = _run("jit", range(_SAVED_AFTER))
    checkpoints = Checkpoints(Path(folder) / "checkpoints", keep=1)
    checkpoints.save(_SAVED_AFTER, layout.to_mesh(state), {})
    state, later, _ = _run("jit", range(_SAVED_AFTER, _STEPS), state)
    checkpoints.close()
    leaves = jax.tree.leaves(layout.fetch(state))
    np.savez(Path(folder) / "end.npz", *leaves, losses=np.array(later))
    return {"steps": _STEPS, "saved_after": _SAVED_AFTER, "losses": [*losses, *later]}


def resumed(folder: str) -> dict[str, Any]:
    """Trains on from the checkpoint in another process; whether the end is the same to the bit.

    Args:
      folder: that of `uninterrupted`.
    """
    layout, create, _ = _training("jit")
    shapes = batch_shapes(_batch_size(layout), _SIZE)
    like, _ = layout.shapes(jax.eval_shape(create), shapes)
    checkpoints = Checkpoints(Path(folder) / "checkpoints", keep=1)
    state = layout.from_mesh(checkpoints.restore(_SAVED_AFTER, like))
    checkpoints.close()
    middle = jax.tree.leaves(layout.fetch(state))
    state, losses, _ = _run("jit", range(_SAVED_AFTER, _STEPS), state)
    ours = jax.tree.leaves(layout.fetch(state))
    with np.load(Path(folder) / "end.npz") as end:
        others = [end[f"arr_{i}"] for i in range(len(ours))]
        same_losses = losses == end["losses"].tolist()
    differing = _changed(ours, others)
    trained = _changed(middle, ours)
    largest = max(
        float(np.max(np.abs(np.asarray(a, np.float64) - b))) if np.all(np.isfinite(a)) else 0.0
        for a, b in zip(ours, others, strict=True)
    )
    return {
        "passed": differing == 0 and same_losses and trained > 0,
        "arrays": len(ours),
        "arrays_differing": differing,
        "largest_difference": largest,
        "losses_are_the_same": same_losses,
        "arrays_changed_since_the_checkpoint": trained,
    }
