"""A batch in several parts, one after the other, whose sums are those of the whole batch.

Part ``k`` of ``count`` holds every ``count``-th row, from row ``k``. Whatever the number of devices
that share the rows in order, each then has as many of every part, of its own rows, and the parts
are the same ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


def part(tree: Any, index: jax.Array, count: int) -> Any:
    """The rows of one part of every array ``(n, ...)``, shape ``(n / count, ...)``."""
    return jax.tree.map(
        lambda x: lax.dynamic_index_in_dim(
            x.reshape(-1, count, *x.shape[1:]), index, axis=1, keepdims=False
        ),
        tree,
    )


def whole(tree: Any) -> Any:
    """The batch ``(n, ...)`` again, of all parts of it, stacked: ``(count, n / count, ...)``."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), tree)


def masks_of_the_batch(index: jax.Array, count: int) -> Callable[..., Any]:
    """An interceptor for ``nn.intercept_methods``, by which a part is dropped out as the batch is.

    A dropout layer, which is known by its field ``rate``, draws a mask of the shape that it is
    given. It is given the rows of a part in their places in the batch, zeros in the others', and of
    its outputs those rows are taken.

    Args:
      index: the part's.
      count: of parts.
    """

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        if not hasattr(context.module, "rate") or context.method_name != "__call__":
            return method(*args, **kwargs)
        x, *others = args
        batch = jnp.zeros((x.shape[0], count, *x.shape[1:]), x.dtype)
        batch = lax.dynamic_update_index_in_dim(batch, x, index, axis=1)
        dropped = method(batch.reshape(-1, *x.shape[1:]), *others, **kwargs)
        return part(dropped, index, count)

    return interceptor
