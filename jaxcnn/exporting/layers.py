"""The layers that ONNX has an operator of its own for, kept whole where a network is traced.

Our max pool is a maximum of slices and our batch normalisation four operations; traced as they are
they would give a right graph, but none that anyone would write.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.core import ShapedArray
from jax.extend.core import Primitive

from jaxcnn.models.layers import AveragePool, LocalResponseNorm, MaxPool

LAYER = Primitive("onnx_layer")
"""An operator of ONNX by name, with its attributes, on arrays whose last axis is of channels.

It is only ever traced; what it computes, ONNX's runtimes know.
"""

LAYER.def_abstract_eval(lambda x, *_, shape, **__: ShapedArray(shape, x.dtype))


def kept_whole(
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """An interceptor for ``nn.intercept_methods`` that puts a `LAYER` in a layer's place."""
    output = method(*args, **kwargs)
    if context.method_name != "__call__" or not args or not isinstance(args[0], jax.Array):
        return output
    found = _operator(context.module, args[0], output)
    if found is None:
        return output
    operator, operands, attributes = found
    return LAYER.bind(
        args[0],
        *operands,
        operator=operator,
        attributes=tuple(sorted(attributes.items())),
        shape=output.shape,
    )


Operator = tuple[str, list[jax.Array], dict[str, Any]]


def _operator(module: nn.Module, x: jax.Array, output: jax.Array) -> Operator | None:
    """The operator that computes what a layer does, its operands and its attributes."""
    if isinstance(module, MaxPool) and max(module.padding + 1, module.stride) <= module.window:
        return "MaxPool", [], _windows(module, x, output, module.padding)
    if isinstance(module, AveragePool):
        return "AveragePool", [], _windows(module, x, output, 0)
    # Of an even number of channels ONNX has the larger half after the one in the middle.
    if isinstance(module, LocalResponseNorm) and module.n % 2:
        constants = {"alpha": module.alpha * module.n, "beta": module.beta, "bias": module.k}
        return "LRN", [], {**constants, "size": module.n}
    if isinstance(module, nn.BatchNorm) and module.axis == -1 and module.use_running_average:
        operands: list[Any] = [
            module.get_variable(collection, name)
            for collection, name in (
                ("params", "scale"),
                ("params", "bias"),
                ("batch_stats", "mean"),
                ("batch_stats", "var"),
            )
        ]
        if all(operand is not None for operand in operands):
            return "BatchNormalization", operands, {"epsilon": module.epsilon}
    return None


def _windows(
    module: MaxPool | AveragePool, x: jax.Array, output: jax.Array, padding: int
) -> dict[str, Any]:
    """Attributes of a pool; what the last windows need beyond the map is padding behind it."""
    behind = [
        max((count - 1) * module.stride + module.window - padding - length, 0)
        for length, count in zip(x.shape[1:3], output.shape[1:3], strict=True)
    ]
    return {
        "kernel_shape": (module.window,) * 2,
        "strides": (module.stride,) * 2,
        "pads": (padding, padding, *behind),
    }
