"""Convolutions in groups over a mesh, each device computing its own examples and groups.

XLA partitions a convolution in groups along nothing, unless a group is a single channel: it
gathers the whole batch, all maps and the whole kernel, and every device computes all of it (seen
in what jax 0.10 compiles, for the gradients too).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P


def make_grouped_convolution(mesh: Mesh, *, batch: str, model: str) -> Callable[..., jax.Array]:
    """A convolution with the arguments of ``lax.conv_general_dilated``, for use under jit.

    It takes images ``(n, h, w, c)``, n a multiple of the mesh's ``batch`` axis, and a kernel
    ``(h, w, c / groups, features)``. The groups are divided over the ``model`` axis; where it does
    not divide their number, every device along it computes all groups.

    Args:
      mesh: the devices.
      batch: the axis that examples are divided over.
      model: the axis that groups are divided over.
    """

    def convolve(
        images: jax.Array,
        kernel: jax.Array,
        window_strides: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        *,
        feature_group_count: int,
        **options: Any,
    ) -> jax.Array:
        divided = feature_group_count % mesh.shape[model] == 0
        channels = model if divided else None
        own_groups = feature_group_count // (mesh.shape[model] if divided else 1)

        def own(images: jax.Array, kernel: jax.Array) -> jax.Array:
            return lax.conv_general_dilated(
                images,
                kernel,
                window_strides,
                padding,
                feature_group_count=own_groups,
                **options,
            )

        maps = P(batch, None, None, channels)
        return jax.shard_map(
            own, mesh=mesh, in_specs=(maps, P(None, None, None, channels)), out_specs=maps
        )(images, kernel)

    return convolve


def groups_computed_by(convolution: Callable[..., jax.Array]) -> Callable[..., Any]:
    """An interceptor for ``nn.intercept_methods``, by which no network need know of devices.

    Every ``nn.Conv`` in groups is computed by ``convolution``.
    """

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if (
            not isinstance(module, nn.Conv)
            or context.method_name != "__call__"
            or module.feature_group_count == 1
            or module.conv_general_dilated_cls is not None
        ):
            return method(*args, **kwargs)
        # The same layer, on the same variables.
        own = module.clone(parent=module.scope, conv_general_dilated_cls=lambda: convolution)
        return own(*args, **kwargs)

    return interceptor
