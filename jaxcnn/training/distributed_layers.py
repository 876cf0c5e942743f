"""Layers over a mesh, each device computing its own examples, or its own outputs of more examples.

Where kernels are small and maps large, as in convolutions, devices best share the examples and
exchange the kernels' gradients. Where kernels are large and maps small, as in fully connected
layers, they best share the outputs and exchange the maps: "One weird trick for parallelizing
convolutional neural networks" (Krizhevsky 2014, arXiv 1404.5997), here its scheme (a). A device
then holds a part of such a kernel for good, and of what the optimizer remembers of it.

What is exchanged is said here, and not left to XLA, which exchanges more: for the gradient of a
gathered map it sums all of it on every device, where each needs its part; and it partitions a
convolution in groups along nothing, unless a group is a single channel: it gathers the batch, the
maps and the kernel, and every device computes everything (seen in what jax 0.10 compiles). What a
convolution of another making is made of, such as a loop over the examples, it may gather too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.training.split import Split


class DistributedLayers:
    """An interceptor for ``nn.intercept_methods``, by which no network need know of devices.

    It serves one tracing of a network, under jit, on a batch whose examples are divided over all
    devices. A layer that is split is given the examples of a row of devices, and its outputs lie
    divided along the row, as do those of what follows without a kernel; a split convolution in
    groups takes its inputs so, too. Every other layer is given its inputs, and the caller the
    logits, divided by examples as the batch is.

    The layers it knows are ``nn.Conv``, ``nn.Dense`` and what is like them: ``features`` outputs,
    and no parameters but a kernel and a bias that end in them. What else there is, and a batch that
    cannot be divided, is computed by XLA as it likes.

    Args:
      mesh: the devices.
      split: the layers that are split.
      batch: the axis along which are the rows of devices.
      model: the axis along a row, of as many devices as the split has parts.
    """

    def __init__(self, mesh: Mesh, split: Split, *, batch: str, model: str) -> None:
        self._mesh, self._split, self._batch, self._model = mesh, split, batch, model
        self._examples = P((batch, model))
        self._divided: int | None = None  # the last layer's outputs, where they lie along a row
        self._within = False  # a device's own part of a layer, which is a layer as well

    def __call__(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        """Computes a method of a module, or the same in another place."""
        module, parts = context.module, self._split.parts
        if self._within or context.method_name != "__call__":
            return method(*args, **kwargs)
        if not module.path:  # the network
            self._divided = None
            result = method(*args, **kwargs)
            return result if parts == 1 else jax.tree.map(self._by_examples, result)
        if not args or not isinstance(args[0], jax.Array) or args[0].shape[0] % self._mesh.size:
            return method(*args, **kwargs)
        if not _is_known(module):
            return jax.tree.map(self._staying, method(*args, **kwargs))
        x, groups = args[0], getattr(module, "feature_group_count", 1)
        before, self._divided = self._divided, None
        chosen = self._split.chooses(module.path, module.features)
        if chosen and (groups == 1 or groups % parts == 0):
            self._divided = module.features
            return self._split_layer(module, x, groups, before)
        if groups > 1 or getattr(module, "conv_general_dilated", None) is not None:
            return self._computed(module, {}, x, inputs=self._examples, outputs=self._examples)
        return method(x if parts == 1 else self._by_examples(x), *args[1:], **kwargs)

    def _split_layer(
        self, module: nn.Module, x: jax.Array, groups: int, before: int | None
    ) -> jax.Array:
        """A layer of which each device of a row computes some outputs, for the row's examples."""
        along_row = self._along_row(x)
        own = {"features": module.features // self._split.parts}
        if groups > 1:  # whose maps are to be where their outputs are
            own["feature_group_count"] = groups // self._split.parts
            inputs, gathered = along_row, None
        elif x.shape[-1] == before:
            inputs, gathered = along_row, x.ndim - 1
        else:  # after a layer that is not split, or where maps have been flattened
            inputs, gathered = self._examples, 0
        return self._computed(
            module,
            own,
            x,
            kernels=self._model,
            inputs=inputs,
            gathered=gathered,
            outputs=along_row,
        )

    def _along_row(self, x: jax.Array) -> P:
        return P(self._batch, *[None] * (x.ndim - 2), self._model)

    def _constrained(self, x: jax.Array, spec: P) -> jax.Array:
        return lax.with_sharding_constraint(x, NamedSharding(self._mesh, spec))

    def _staying(self, x: jax.Array) -> jax.Array:
        """What follows a layer whose outputs are divided, kept as they are.

        Or XLA would move the maps that a pool is given, if what it gives is to lie elsewhere.
        """
        stays = x.ndim > 1 and x.shape[-1] == self._divided
        return self._constrained(x, self._along_row(x)) if stays else x

    def _by_examples(self, x: jax.Array) -> jax.Array:
        return self._constrained(x, self._examples)

    def _computed(
        self,
        module: nn.Module,
        own: Mapping[str, Any],
        x: jax.Array,
        *,
        inputs: P,
        outputs: P,
        kernels: str | None = None,
        gathered: int | None = None,
    ) -> jax.Array:
        """A layer of which each device computes its own part.

        Args:
          module: the whole layer.
          own: the fields in which a device's part differs from it.
          x: the whole layer's inputs.
          inputs: how ``x`` is to lie.
          outputs: how the result lies.
          kernels: the axis of the mesh along which the last axis of the parameters lies.
          gathered: the axis of ``x`` that is put together again along a row of devices.
        """
        part, params = module.clone(parent=None, **own), module.variables["params"]

        def compute(params: Any, x: jax.Array) -> jax.Array:
            if gathered is not None:
                x = lax.all_gather(x, self._model, axis=gathered, tiled=True)
            return jnp.asarray(part.apply({"params": params}, x))

        laid = jax.tree.map(lambda p: P(*[None] * (p.ndim - 1), kernels), params)
        self._within = True
        try:
            return jax.shard_map(
                compute, mesh=self._mesh, in_specs=(laid, inputs), out_specs=outputs
            )(params, x)
        finally:
            self._within = False


def _is_known(module: nn.Module) -> bool:
    """Whether each of the module's outputs has a column of the kernel and nothing else."""
    params = module.variables.get("params", {})
    return (
        isinstance(getattr(module, "features", None), int)
        and getattr(module, "mask", None) is None
        and "kernel" in params
        and params.keys() <= {"kernel", "bias"}
    )
