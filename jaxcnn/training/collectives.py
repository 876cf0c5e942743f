"""Whether devices compute and add up rightly, and how fast they do the latter."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_AXIS = "all"


class AllReduce(NamedTuple):
    """What a sum over all devices, which every one of them then has, was seen to take.

    Attributes:
      devices: how many.
      seconds: for one number: the latency.
      bytes: of each device's array in the other measurement.
      bytes_seconds: for such an array.
    """

    devices: int
    seconds: float
    bytes: int
    bytes_seconds: float


def computes(device: jax.Device) -> bool:
    """Whether a device has the right product of two matrices of small whole numbers.

    They are exact in every type that a device may compute in.
    """
    left = np.arange(64, dtype=np.float32).reshape(8, 8) % 7 - 3
    right = np.arange(64, dtype=np.float32).reshape(8, 8) % 5 - 2
    product = jax.device_put(left, device) @ jax.device_put(right, device)
    return np.array_equal(np.asarray(product), left @ right)


def sum_of_numbers(devices: Sequence[jax.Device]) -> tuple[float, float]:
    """What devices that hold the numbers 1 to N add up to, and what is right, exact in float32."""
    count = len(devices)
    total = np.asarray(_sum(devices, 1)().addressable_data(0))
    return float(total.item()), count * (count + 1) / 2


def measure_all_reduce(
    devices: Sequence[jax.Device], *, size: int = 1 << 20, rounds: int = 10
) -> AllReduce:
    """Times sums over all devices; every process calls it.

    Args:
      devices: all of them, in the same order everywhere.
      size: float32 numbers in each device's array.
      rounds: how often; the median counts.
    """

    def seconds(length: int) -> float:
        work = _sum(devices, length)
        work().block_until_ready()
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            work().block_until_ready()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    return AllReduce(len(devices), seconds(1), 4 * size, seconds(size))


def _sum(devices: Sequence[jax.Device], length: int) -> Callable[[], jax.Array]:
    """A function that adds up arrays filled with 1 to N, one on each device."""
    mesh = Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,))
    rows, whole = PartitionSpec(_AXIS), PartitionSpec()
    # Every process makes all of them; each device takes its own.
    values = np.arange(1, len(devices) + 1, dtype=np.float32)[:, None]
    numbers = jax.make_array_from_callback(
        (len(devices), length),
        NamedSharding(mesh, rows),
        lambda index: np.broadcast_to(values, (len(devices), length))[index],
    )
    added = jax.shard_map(
        lambda x: jax.lax.psum(x, _AXIS), mesh=mesh, in_specs=rows, out_specs=whole
    )
    return functools.partial(jax.jit(added), numbers)
