"""Laying a step over devices, by jit on a mesh or by pmap; no network is known here.

Both forms compute the same function of the global batch. With jit the batch is one array laid
over a mesh axis and XLA inserts the sums over devices; with pmap every device runs the step on
its share and the step sums by the axis's name. With jit, a row of devices can also hold one copy of
some layers together, each a part of them.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import KeyPath

from jaxcnn.training.compiler_options import compiler_options
from jaxcnn.training.distributed_layers import DistributedLayers
from jaxcnn.training.split import WHOLE, Split

# The mesh's axes: a batch is divided along both, what is split along the second alone.
AXIS, MODEL_AXIS = "batch", "model"


@dataclasses.dataclass(frozen=True)
class JitLayout:
    """One global array for each batch, on a mesh, and one for each parameter.

    Attributes:
      devices: the devices in process order, so that each process holds contiguous rows.
      split: the parameters of which a device holds a part.
      plainly: compile steps without the options that are faster.
    """

    devices: tuple[jax.Device, ...]
    split: Split = WHOLE
    plainly: bool = False
    axis_name: ClassVar[str | None] = None

    @property
    def mesh(self) -> Mesh:
        """A row of devices for each copy of what is split."""
        rows = np.array(self.devices).reshape(-1, self.split.parts)
        return Mesh(rows, (AXIS, MODEL_AXIS), axis_types=(AxisType.Auto,) * 2)

    @property
    def batch_parts(self) -> int:
        return len(self.devices)

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()

    def _shardings(self, tree: Any) -> Any:
        """How a tree's arrays lie, by their paths and shapes."""
        mesh = self.mesh

        def sharding(path: KeyPath, x: Any) -> NamedSharding:
            axes = [None] * (np.ndim(x) - 1) + [MODEL_AXIS]
            split = self.split.applies(path, np.shape(x))
            return NamedSharding(mesh, PartitionSpec(*axes) if split else PartitionSpec())

        return jax.tree_util.tree_map_with_path(sharding, tree)

    def replicate(self, tree: Any) -> Any:
        return _replicated(tree, self.mesh)

    def distribute(self, state: Any) -> Any:
        return jax.tree.map(_put, state, self._shardings(state))

    @property
    def _by_examples(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec((AXIS, MODEL_AXIS)))

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        return {
            k: jax.make_array_from_process_local_data(self._by_examples, v)
            for k, v in batch.items()
        }

    def shapes(self, state: Any, batch: Any) -> tuple[Any, Any]:
        def laid(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        return (
            jax.tree.map(laid, state, self._shardings(state)),
            jax.tree.map(lambda x: laid(x, self._by_examples), batch),
        )

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        @functools.wraps(step)
        def laid_out(*arguments: Any) -> Any:
            layers = DistributedLayers(self.mesh, self.split, batch=AXIS, model=MODEL_AXIS)
            # One device computes everything by itself.
            alone = len(self.devices) == 1
            with contextlib.nullcontext() if alone else nn.intercept_methods(layers):
                result = step(*arguments)
            return jax.lax.with_sharding_constraint(result, self._shardings(result))

        options = {} if self.plainly else compiler_options(self.devices[0].platform)
        return jax.jit(laid_out, donate_argnums=donate, compiler_options=options)

    def fetch(self, tree: Any) -> Any:
        whole = NamedSharding(self.mesh, PartitionSpec())

        def values(x: jax.Array) -> np.ndarray:
            if not x.is_fully_addressable and not x.is_fully_replicated:
                x = jax.device_put(x, whole)
            return np.asarray(x)

        return jax.tree.map(values, tree)

    def to_mesh(self, tree: Any) -> Any:
        return tree

    def from_mesh(self, tree: Any) -> Any:
        return tree


@dataclasses.dataclass(frozen=True)
class PmapLayout:
    """A leading axis of one row for each device, over which the step is mapped.

    Attributes:
      devices: the devices in process order.
      plainly: compile steps without the options that are faster.
    """

    devices: tuple[jax.Device, ...]
    plainly: bool = False
    axis_name: ClassVar[str | None] = AXIS

    @property
    def mesh(self) -> Mesh:
        """A row of the devices, the mesh that pmap makes too."""
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    @property
    def _rows(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    @property
    def batch_parts(self) -> int:
        return len(self.devices)

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()

    def replicate(self, tree: Any) -> Any:
        return self.from_mesh(_replicated(tree, self.mesh))

    def distribute(self, state: Any) -> Any:
        return self.replicate(state)

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        local = len([d for d in self.devices if d.process_index == jax.process_index()])
        return {
            k: jax.make_array_from_process_local_data(
                self._rows, v.reshape(local, v.shape[0] // local, *v.shape[1:])
            )
            for k, v in batch.items()
        }

    def shapes(self, state: Any, batch: Any) -> tuple[Any, Any]:
        count = len(self.devices)

        def row(*shape: int, of: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((count, *shape), of.dtype, sharding=self._rows)

        return (
            jax.tree.map(lambda x: row(*x.shape, of=x), state),
            jax.tree.map(lambda x: row(x.shape[0] // count, *x.shape[1:], of=x), batch),
        )

    def compile(self, step: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> Any:
        mapped = jax.pmap(step, axis_name=AXIS, donate_argnums=donate, devices=self.devices)
        options = {} if self.plainly else compiler_options(self.devices[0].platform)
        if not options:
            return mapped

        @functools.wraps(step)
        def compiled(*arguments: Any) -> Any:  # jit takes the options that pmap does not
            return mapped(*arguments)

        return jax.jit(compiled, donate_argnums=donate, compiler_options=options)

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
    return jax.tree.map(lambda x: _put(x, sharding), tree)


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    """Values that are the same on every process as one array."""
    if isinstance(x, jax.Array) and x.is_fully_addressable and sharding.is_fully_replicated:
        # Not by the host: on CPU it would share memory with numpy's, into which XLA writes no
        # successor of a donated state, and the first step would need room for one more.
        devices = sharding.addressable_devices
        shards = [jax.device_put(x, device, may_alias=False) for device in devices]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)
    value = np.asarray(x)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
