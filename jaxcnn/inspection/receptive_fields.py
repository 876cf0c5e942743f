"""How receptive fields grow, operation by operation of a traced network.

Nothing is known here of layers: each operation of JAX moves what its inputs see in a way of its
own, so that a pool made of slices, branches, groups and anyone's network are all one. Of an
operation that is not known, it is known that its outputs see no more than its inputs together.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxcnn.inspection.extents import Extent, union

Extents = Sequence[Extent | None]


class Operation(NamedTuple):
    """One operation of a traced function.

    Attributes:
      name: of its primitive.
      params: of its primitive.
      inputs: their shapes.
      output: the first one's shape.
      constant: of each input, whether it depends on none of the function's arguments.
    """

    name: str
    params: dict[str, Any]
    inputs: Sequence[tuple[int, ...]]
    output: tuple[int, ...]
    constant: Sequence[bool]


def seen_by(operation: Operation, extents: Extents) -> Extent | None:
    """What the outputs of an operation see, given what its inputs do."""
    if all(extent is None for extent in extents):
        return None
    if operation.name in ELEMENTWISE:
        return union(extents)
    if operation.name in RULES:
        return RULES[operation.name](operation, extents)
    return union([extent and extent.blurred() for extent in extents])


def _convolution(operation: Operation, extents: Extents) -> Extent | None:
    params, (extent, of_kernel) = operation.params, extents
    if extent is None or extent.axis is None or of_kernel is not None:
        return union([extent, of_kernel and of_kernel.blurred()])
    batch, channel, *places = params["dimension_numbers"].lhs_spec
    out_batch, _, *out_places = params["dimension_numbers"].out_spec
    if extent.axis == batch:
        return extent.along(out_batch)
    if extent.axis == channel:
        return extent.together()
    i = places.index(extent.axis)
    axis = out_places[i]
    if params["lhs_dilation"][i] != 1:
        return extent.blurred(axis, operation.output[axis])
    return extent.windows(
        axis,
        operation.output[axis],
        window=operation.inputs[1][params["dimension_numbers"].rhs_spec[2 + i]],
        stride=params["window_strides"][i],
        before=params["padding"][i][0],
        dilation=params["rhs_dilation"][i],
    )


def _reduce_window(operation: Operation, extents: Extents) -> Extent | None:
    params, extent = operation.params, union(extents)
    if extent is None or extent.axis is None:
        return extent
    axis = extent.axis
    if params["base_dilation"][axis] != 1:
        return extent.blurred(axis, operation.output[axis])
    return extent.windows(
        axis,
        operation.output[axis],
        window=params["window_dimensions"][axis],
        stride=params["window_strides"][axis],
        before=params["padding"][axis][0],
        dilation=params["window_dilation"][axis],
    )


def _pad(operation: Operation, extents: Extents) -> Extent | None:
    extent, of_value = extents
    if extent is None or extent.axis is None or of_value is not None:
        return union([extent, of_value])
    axis, count = extent.axis, operation.output[extent.axis]
    before, _, between = operation.params["padding_config"][axis]
    return extent.blurred(axis, count) if between else extent.windows(axis, count, before=before)


def _slice(operation: Operation, extents: Extents) -> Extent | None:
    (extent,), params = extents, operation.params
    if extent is None or extent.axis is None:
        return extent
    axis = extent.axis
    return extent.windows(
        axis,
        operation.output[axis],
        stride=params["strides"][axis] if params["strides"] else 1,
        before=-params["start_indices"][axis],
    )


def _concatenate(operation: Operation, extents: Extents) -> Extent | None:
    axis = operation.params["dimension"]
    if all(extent is None or extent.axis != axis for extent in extents):
        return union(extents)
    count = operation.output[axis]
    return union([extent and extent.blurred(axis, count) for extent in extents])


def _split(operation: Operation, extents: Extents) -> Extent | None:
    (extent,) = extents
    if extent is None or extent.axis != operation.params["axis"]:
        return extent
    return extent.blurred()


def _reduce(operation: Operation, extents: Extents) -> Extent | None:
    return _without(union(extents), operation.params["axes"])


def _squeeze(operation: Operation, extents: Extents) -> Extent | None:
    return _without(extents[0], operation.params["dimensions"])


def _without(extent: Extent | None, axes: Sequence[int]) -> Extent | None:
    if extent is None or extent.axis is None:
        return extent
    if extent.axis in axes:
        return extent.together()
    return extent.along(extent.axis - sum(axis < extent.axis for axis in axes))


def _transpose(operation: Operation, extents: Extents) -> Extent | None:
    extent = extents[0]
    if extent is None or extent.axis is None:
        return extent
    return extent.along(operation.params["permutation"].index(extent.axis))


def _broadcast(operation: Operation, extents: Extents) -> Extent | None:
    extent = extents[0]
    if extent is None or extent.axis is None:
        return extent
    axis = operation.params["broadcast_dimensions"][extent.axis]
    return extent.along(axis) if operation.output[axis] == extent.count else extent.together()


def _reshape(operation: Operation, extents: Extents) -> Extent | None:
    extent, shape, output = extents[0], operation.inputs[0], operation.output
    if extent is None or extent.axis is None:
        return extent
    if extent.count == 1:
        return extent.together()
    before = math.prod(shape[: extent.axis])
    behind = math.prod(shape[extent.axis + 1 :])
    for axis, length in enumerate(output):
        outside, inside = math.prod(output[:axis]), math.prod(output[axis + 1 :])
        if (outside, length) == (before, extent.count):
            return extent.along(axis)
        if outside <= before and inside <= behind:
            return extent.blurred(axis, length)  # it was merged with others
    return extent.blurred()


def _dot(operation: Operation, extents: Extents) -> Extent | None:
    contracted, batched = operation.params["dimension_numbers"]
    free = [
        [axis for axis in range(len(shape)) if axis not in (*summed, *mapped)]
        for shape, summed, mapped in zip(operation.inputs, contracted, batched, strict=True)
    ]
    first = (len(batched[0]), len(batched[0]) + len(free[0]))  # of each side's in the output

    def move(side: int, extent: Extent | None) -> Extent | None:
        if extent is None or extent.axis is None:
            return extent
        if extent.axis in batched[side]:
            return extent.along(batched[side].index(extent.axis))
        if extent.axis in free[side]:
            return extent.along(first[side] + free[side].index(extent.axis))
        other = 1 - side
        columns = [operation.inputs[other][axis] for axis in free[other]]
        if not operation.constant[other] or math.prod(columns) == 1:
            return extent.together()
        # Means over windows, of which each output may see others.
        axis = first[other] if len(columns) == 1 else None
        return extent.blurred(axis, columns[0] if len(columns) == 1 else 1)

    return union([move(side, extent) for side, extent in enumerate(extents)])


RULES: dict[str, Callable[[Operation, Extents], Extent | None]] = {
    "conv_general_dilated": _convolution,
    "reduce_window": _reduce_window,
    "reduce_window_max": _reduce_window,
    "reduce_window_min": _reduce_window,
    "reduce_window_sum": _reduce_window,
    "pad": _pad,
    "slice": _slice,
    "concatenate": _concatenate,
    "split": _split,
    "reduce_sum": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_prod": _reduce,
    "argmax": _reduce,
    "argmin": _reduce,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "dot_general": _dot,
}
"""By the name of a primitive."""

_ELEMENTWISE = """
abs add add_any and atan2 cbrt ceil clamp convert_element_type copy cos cosh div eq erf erf_inv erfc
exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul name ne neg
nextafter not optimization_barrier or pow reduce_precision rem round rsqrt select_n sign sin sinh
sqrt square stop_gradient sub tan tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Primitives of which each element of an output depends on that element of each input alone."""
