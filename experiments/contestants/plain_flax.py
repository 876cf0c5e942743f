"""The same networks as Flax alone has them: ``nn.max_pool``, convolutions and compiler as given."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from experiments.contestants import Contestant, Task, ours
from jaxcnn.models.layers import MaxPool


def prepare(task: Task) -> Contestant:
    """Compiles our step for the network with these layers."""
    with nn.intercept_methods(max_pool):
        return ours.prepare(dataclasses.replace(task, convolution="xla"), plainly=True)


def max_pool(
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Computes a max pool by ``lax.reduce_window``, an interceptor for ``nn.intercept_methods``."""
    pool = context.module
    if not isinstance(pool, MaxPool) or context.method_name != "__call__":
        return method(*args, **kwargs)
    x = args[0]
    margins = []
    for length in x.shape[1:3]:
        padded = length + 2 * pool.padding
        # What fills no window of its own is filled up, in Caffe's mode.
        more = -(padded - pool.window) % pool.stride if pool.ceil else 0
        margins.append((pool.padding, pool.padding + more))
    return nn.max_pool(x, (pool.window,) * 2, strides=(pool.stride,) * 2, padding=margins)
