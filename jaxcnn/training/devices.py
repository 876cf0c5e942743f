"""Laying a step over the devices there are, by jit on a mesh or by pmap; no network is known here.

Both forms compute the same function of the global batch. With jit the batch is one array laid
over a mesh axis and XLA inserts the sums over devices; with pmap every device runs the step on
its share and the step sums by the axis's name.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.errors import UserError

AXIS = "batch"


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Which devices, and how a step is laid over them.

    Attributes:
      mode: 'jit' (a mesh, shardings and jit) or 'pmap'.
      devices: how many devices to use, the first ones; None for all. Only with one process.
      coordinator: address ``HOST:PORT`` of process 0, for several processes started by hand;
        None for one process, or for what `jax.distributed` detects.
      processes: how many processes there are, with `coordinator`.
      process: this process's number, from 0, with `coordinator`.
      detect: ask `jax.distributed` to find the other processes by itself (SLURM, Open MPI,
        Kubernetes, Cloud TPU).
      timeout: how long the processes wait for one another at the start, in seconds.
    """

    shorthand: ClassVar[str] = "mode"

    mode: Literal["jit", "pmap"] = "jit"
    devices: int | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    detect: bool = False
    timeout: int = 300

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
        if self.timeout < 1:
            raise UserError(f"parallel.timeout={self.timeout} must be 1 or more.")


class Layout(Protocol):
    """How arrays and steps lie on devices."""

    @property
    def axis_name(self) -> str | None:
        """The axis that a step sums over by name; None where XLA sees the global batch."""

    @property
    def devices(self) -> tuple[jax.Device, ...]:
        """The devices, in process order."""

    def replicate(self, tree: Any) -> Any:
        """Puts the same host values on every device."""

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Lays this process's slice of a global batch over its devices."""

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        """Compiles a step whose last argument is a placed batch and whose others are replicated.

        What it returns is replicated. The arguments numbered in ``donate`` are given up: their
        memory is reused for the result.
        """

    def fetch(self, tree: Any) -> Any:
        """The values of a replicated tree as numpy arrays on this host."""

    def to_mesh(self, tree: Any) -> Any:
        """A replicated tree as global arrays on the mesh, the form that checkpoints hold."""

    def from_mesh(self, tree: Any) -> Any:
        """The inverse of ``to_mesh``."""


@dataclasses.dataclass(frozen=True)
class JitLayout:
    """One global array for each batch, on a mesh with one axis."""

    devices: tuple[jax.Device, ...]
    axis_name: ClassVar[str | None] = None

    @property
    def mesh(self) -> Mesh:
        """The devices in process order, so that each process holds contiguous rows."""
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))

    def replicate(self, tree: Any) -> Any:
        return _replicated(tree, self.mesh)

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        replicated = NamedSharding(self.mesh, PartitionSpec())
        return jax.jit(step, donate_argnums=donate, out_shardings=replicated)

    def fetch(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)

    def to_mesh(self, tree: Any) -> Any:
        return tree

    def from_mesh(self, tree: Any) -> Any:
        return tree


@dataclasses.dataclass(frozen=True)
class PmapLayout:
    """A leading axis of one row for each device, over which the step is mapped."""

    devices: tuple[jax.Device, ...]
    axis_name: ClassVar[str | None] = AXIS

    @property
    def mesh(self) -> Mesh:
        """The mesh on which checkpoints are laid, the same as JitLayout's."""
        return JitLayout(self.devices).mesh

    @property
    def _rows(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def replicate(self, tree: Any) -> Any:
        return self.from_mesh(_replicated(tree, self.mesh))

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        local = len([d for d in self.devices if d.process_index == jax.process_index()])
        return {
            k: jax.make_array_from_process_local_data(
                self._rows, v.reshape(local, v.shape[0] // local, *v.shape[1:])
            )
            for k, v in batch.items()
        }

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        return jax.pmap(step, axis_name=AXIS, donate_argnums=donate, devices=self.devices)

    def fetch(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x.addressable_data(0))[0], tree)

    def to_mesh(self, tree: Any) -> Any:
        sharding = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(
            lambda x: jax.make_array_from_single_device_arrays(
                x.shape[1:], sharding, [s.data[0] for s in x.addressable_shards]
            ),
            tree,
        )

    def from_mesh(self, tree: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.make_array_from_single_device_arrays(
                (len(self.devices), *x.shape),
                self._rows,
                [s.data[None] for s in x.addressable_shards],
            ),
            tree,
        )


def _replicated(tree: Any, mesh: Mesh) -> Any:
    """The tree's values, the same on every process, on every device of the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def put(x: Any) -> jax.Array:
        value = np.asarray(x)
        return jax.make_array_from_callback(value.shape, sharding, lambda _: value)

    return jax.tree.map(put, tree)


def make_layout(config: ParallelConfig) -> Layout:
    """The layout over the devices there are.

    Raises:
      UserError: more devices are asked for than there are.
    """
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    if config.devices is not None:
        if config.devices > len(devices):
            raise UserError(
                f"parallel.devices={config.devices} but this machine shows {len(devices)} "
                f"{devices[0].platform} device(s); ask for at most that many."
            )
        devices = devices[: config.devices]
    return (JitLayout if config.mode == "jit" else PmapLayout)(tuple(devices))
