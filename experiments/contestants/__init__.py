"""Who is measured side by side: one file for each way of computing the same network.

A contestant is prepared for a task in a process of its own (``experiments.contestants.worker``), so
that none takes another's threads or memory, and then advances when it is its turn.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Literal

from experiments.large_pages import tunables
from jaxcnn.errors import UserError, unknown_name


@dataclasses.dataclass(frozen=True)
class Task:
    """What every contestant computes, on random images.

    Attributes:
      model: a registered name of ours; a peer computes its network of the same layers.
      mode: a step of training (momentum of 0.9, weight decay of 5e-4), or the logits.
      batch_size: images in a step, over all devices.
      image_size: their height and width in pixels.
      num_classes: logits.
      dtype: of the computation; the parameters are in float32.
      devices: of ours the first so many; None for all. A peer uses one.
      convolution: how ours are computed, as ``model.convolution`` of a configuration.
    """

    model: str
    mode: Literal["train", "inference"]
    batch_size: int
    image_size: int
    num_classes: int
    dtype: str
    devices: int | None = None
    convolution: str = "auto"


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A step ready to be timed.

    Attributes:
      advance: starts the step once more.
      wait: returns when all that was started is done.
      versions: of what computes it.
      peak_memory: the most bytes it had in use on its device so far; on CPU, of its process.
    """

    advance: Callable[[], None]
    wait: Callable[[], None]
    versions: Mapping[str, str]
    peak_memory: Callable[[], int]


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Where a contestant is, what it is told besides the task, and what must be installed.

    Large pages are a peer's only if it is asked for: its users do not begin in them.
    """

    module: str
    options: Mapping[str, Any]
    packages: tuple[str, ...] = ()

    @property
    def is_peer(self) -> bool:
        return self.module != "ours"


# The order is that of the table.
_CONTESTANTS = {
    "jaxcnn": _Entry("ours", {}),
    "one-device": _Entry("ours", {"devices": 1}),
    "deterministic": _Entry("ours", {"deterministic": True}),
    "flax": _Entry("plain_flax", {}),
    "keras": _Entry("keras_on_jax", {}, ("keras",)),
    "torch": _Entry("pytorch", {"channels_last": False}, ("torch", "torchvision")),
    "torch-channels-last": _Entry("pytorch", {"channels_last": True}, ("torch", "torchvision")),
    "torch-compile": _Entry(
        "pytorch", {"channels_last": True, "compiled": True}, ("torch", "torchvision")
    ),
}

PEERS = tuple(name for name in _CONTESTANTS if name != "jaxcnn")


def check_peer(name: str) -> None:
    """Raises a UserError for a peer that there is not, or whose packages are not installed."""
    if name not in PEERS:
        raise unknown_name("peer", name, PEERS)
    missing = [p for p in _CONTESTANTS[name].packages if importlib.util.find_spec(p) is None]
    if missing:
        raise UserError(
            f"--compare={name} needs {' and '.join(missing)}; install by "
            f"`pip install {' '.join(missing)}`, or leave it out."
        )


def environment(name: str, *, large_pages: bool) -> dict[str, str]:
    """What a contestant's process has in its environment besides ours.

    Args:
      name: of a contestant.
      large_pages: for peers too; our commands start in them.
    """
    return {
        **tunables(large_pages=large_pages or not _CONTESTANTS[name].is_peer),
        # Contestants on one GPU: none takes all of its memory beforehand.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def prepare(name: str, task: Task) -> Contestant:
    """Makes a contestant ready, compiled where it compiles.

    Raises:
      UserError: it has no such network, or not for such images.
    """
    entry = _CONTESTANTS[name]
    module = importlib.import_module(f"experiments.contestants.{entry.module}")
    contestant: Contestant = module.prepare(task, **entry.options)
    return contestant
