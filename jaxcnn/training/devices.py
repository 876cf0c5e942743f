"""Which devices a run uses, and what laying a step over them means."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol

import jax
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.training.layer_patterns import check_expression
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.split import Split


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Which devices, and how a step is laid over them.

    Attributes:
      mode: 'jit' (a mesh, shardings and jit) or 'pmap'.
      devices: how many devices to use, the first ones; None for all. Only with one process.
      model: how many devices hold one copy of the layers of `split` together, each a part of
        their outputs, which it computes for the examples of all of them; every other layer a
        device computes for its own examples (Krizhevsky 2014, arXiv 1404.5997). Only with 'jit'.
      split: regular expression of the layers, by whole names, that `model` devices split along
        their outputs; None for the fully connected ones ('fc.*|logits'), but those whose outputs
        cannot be divided. '.*' puts each half of the paper's AlexNet on one of two devices.
      coordinator: address ``HOST:PORT`` of process 0, for several processes started by hand;
        None for one process, or for what `jax.distributed` detects.
      processes: how many processes there are, with `coordinator`.
      process: this process's number, from 0, with `coordinator`.
      detect: ask `jax.distributed` to find the other processes by itself (SLURM, Open MPI,
        Kubernetes, Cloud TPU).
      timeout: how long the processes wait for one another at the start, in seconds.
      silence: after how many seconds without a sign of life a process counts as gone; the others
        then end, to be started again.
      deterministic: on GPUs, compute so that the same run gives the same bits each time, however
        much slower that is; on CPU it always does.
    """

    shorthand: ClassVar[str] = "mode"

    mode: Literal["jit", "pmap"] = "jit"
    devices: int | None = None
    model: int = 1
    split: str | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    detect: bool = False
    timeout: int = 300
    silence: int = 30
    deterministic: bool = False

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        by_hand = (self.coordinator, self.processes, self.process)
        if any(value is not None for value in by_hand):
            if any(value is None for value in by_hand):
                raise UserError(
                    "parallel.coordinator, parallel.processes and parallel.process belong "
                    "together: give all three, or none for one process."
                )
            assert self.coordinator is not None
            assert self.processes is not None
            assert self.process is not None
            host, _, port = self.coordinator.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) < 2**16):
                raise UserError(
                    f"parallel.coordinator={self.coordinator} is not of the form HOST:PORT, such "
                    "as 10.0.0.1:1234."
                )
            if not 0 <= self.process < self.processes:
                raise UserError(
                    f"parallel.process={self.process} is not one of the {self.processes} "
                    "processes, which are numbered from 0."
                )
        if self.devices is not None and (self.coordinator is not None or self.detect):
            raise UserError("parallel.devices limits one process only; leave it out with several.")
        if self.devices is not None and self.devices < 1:
            raise UserError(f"parallel.devices={self.devices} must be 1 or more.")
        if self.model < 1:
            raise UserError(f"parallel.model={self.model} must be 1 or more.")
        if self.model > 1 and self.mode == "pmap":
            raise UserError(
                f"parallel.model={self.model} needs parallel.mode=jit: pmap gives every device "
                "all parameters."
            )
        if self.split is not None:
            check_expression("parallel.split", self.split)
        if self.timeout < 1:
            raise UserError(f"parallel.timeout={self.timeout} must be 1 or more.")
        if self.silence < 5:
            raise UserError(
                f"parallel.silence={self.silence} must be 5 or more: signs of life come every 2 s."
            )

    def split_layers(self, params: Any) -> list[str]:
        """The names of the layers that are split, of a network's parameters or their shapes."""
        return Split(self.split, self.model).names(params)

    def check_layers(self, params: Any) -> None:
        """Raises a UserError where a network's parameters, or their shapes, cannot be split so."""
        Split(self.split, self.model).check(params)


class Layout(Protocol):
    """How arrays and steps lie on devices."""

    @property
    def axis_name(self) -> str | None:
        """The axis that a step sums over by name; None where XLA sees the global batch."""

    @property
    def devices(self) -> tuple[jax.Device, ...]:
        """The devices, in process order."""

    @property
    def batch_parts(self) -> int:
        """In how many parts a batch is divided: its size must be a multiple."""

    @property
    def share(self) -> tuple[int, int]:
        """Which contiguous slice of each batch this process reads, from 0, and of how many."""

    def replicate(self, tree: Any) -> Any:
        """Puts the same host values on every device."""

    def distribute(self, state: Any) -> Any:
        """Puts a training state's host values on the devices, split where its layers are."""

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Lays this process's slice of a global batch over its devices."""

    def shapes(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """A distributed state and a placed global batch, but for their values.

        A step can be lowered and compiled for them, on a machine that could not hold them.

        Args:
          state: a tree of what has a shape and a type.
          batch: another.
        """

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        """Compiles a step whose last argument is a placed batch and whose others are distributed.

        What it returns is distributed. The arguments numbered in ``donate`` are given up: their
        memory is reused for the result.
        """

    def fetch(self, tree: Any) -> Any:
        """The values of a distributed tree as numpy arrays on this host.

        Every process must ask: what is split over processes comes from all of them.
        """

    def to_mesh(self, tree: Any) -> Any:
        """A distributed tree as global arrays on the mesh, the form that checkpoints hold."""

    def from_mesh(self, tree: Any) -> Any:
        """The inverse of ``to_mesh``."""


def make_layout(config: ParallelConfig, *, own: bool = False, plainly: bool = False) -> Layout:
    """The layout over the devices there are.

    Args:
      config: how many, and how.
      own: of this process's devices alone, where the processes do not work on the same batches.
      plainly: compile steps without the options that are faster.

    Raises:
      UserError: more devices are asked for than there are, or they cannot share the parameters.
    """
    found = jax.local_devices() if own else jax.devices()
    devices = sorted(found, key=lambda d: (d.process_index, d.id))
    if config.devices is not None:
        if config.devices > len(devices):
            raise UserError(
                f"parallel.devices={config.devices} but this machine shows {len(devices)} "
                f"{devices[0].platform} device(s); ask for at most that many."
            )
        devices = devices[: config.devices]
    if len(devices) % config.model:
        raise UserError(
            f"parallel.model={config.model} does not divide the {len(devices)} device(s); give a "
            "divisor, or other parallel.devices."
        )
    if config.mode == "pmap":
        return PmapLayout(tuple(devices), plainly)
    return JitLayout(tuple(devices), Split(config.split, config.model), plainly)
