"""Operations that change where elements lie and nothing else, written as operators of ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.exporting.graph import Graph, Known, Operand, Parameters, Value, refused, value

_BEFORE_ALL = -(2**31)  # where an axis that is read backwards ends, for ONNX


def transpose(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """Another order of the axes, which moves nothing: the axes in memory only have other names."""
    x = value(operands[0])
    return Value(x.name, shape, tuple(how["permutation"].index(axis) for axis in x.order))


def reshape(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """``reshape`` and ``expand_dims``: elements in the order in which JAX has them."""
    x = operands[0]
    name = graph.in_order(x, tuple(range(len(x.shape))))
    # The batch is the one length that is not known.
    lengths = [length if isinstance(length, int) else -1 for length in shape]
    found = graph.node("Reshape", [name, graph.whole_numbers(lengths, "shape")])
    return Value(found, shape, tuple(range(len(shape))))


def broadcast(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Operand:
    """New axes of length 1, which all that follows repeats by itself."""
    x, places = operands[0], how["broadcast_dimensions"]
    given = dict(zip(places, x.shape, strict=True))
    thin = tuple(given.get(axis, 1) for axis in range(len(shape)))
    if isinstance(x, Known):
        known = dict(zip(places, x.array.shape, strict=True))
        return Known(x.array.reshape([known.get(axis, 1) for axis in range(len(shape))]), shape)
    if thin == x.shape:
        return Value(x.name, shape, x.order)
    return Value(reshape(graph, [x], how, thin).name, shape, tuple(range(len(shape))))


def concatenate(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """Arrays one after the other along an axis."""
    order = next(o.order for o in operands if isinstance(o, Value))
    names = [graph.in_order(operand, order) for operand in operands]
    axis = order.index(how["dimension"])
    return Value(graph.node("Concat", names, axis=axis), shape, order)


def pad(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """A constant put around an array; nothing where the widths are all zero."""
    x, value = operands
    if not isinstance(x, Value) or not isinstance(value, Known):
        raise refused("pads a constant, or by what it computes")
    widths = [tuple(map(int, width)) for width in how["padding_config"]]
    if any(inner for *_, inner in widths):
        raise refused("pads between elements")
    if not any(map(any, widths)):
        return x
    pads = [widths[axis][side] for side in (0, 1) for axis in x.order]
    names = [x.name, graph.whole_numbers(pads, "pads"), graph.constant(value.array)]
    return Value(graph.node("Pad", names), shape, x.order)


def part(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """``slice``: from one position of an axis to another, every so many."""
    x = value(operands[0])
    steps = how["strides"] or (1,) * len(shape)
    cuts = {
        axis: (start, end, step)
        for axis, (start, end, step) in enumerate(
            zip(how["start_indices"], how["limit_indices"], steps, strict=True)
        )
        if not (start == 0 and step == 1 and end == x.shape[axis])
    }
    return Value(_cut(graph, x, cuts), shape, x.order)


def turned(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """``rev``: some axes read backwards."""
    x = value(operands[0])
    cuts = dict.fromkeys(how["dimensions"], (-1, _BEFORE_ALL, -1))
    return Value(_cut(graph, x, cuts), shape, x.order)


def _cut(graph: Graph, x: Value, cuts: dict[int, tuple[int, int, int]]) -> str:
    """What lies between two positions of an axis, every so many."""
    if not cuts:
        return x.name
    starts, ends, steps = (
        graph.whole_numbers([cut[i] for cut in cuts.values()], name)
        for i, name in enumerate(("starts", "ends", "steps"))
    )
    axes = graph.whole_numbers([x.order.index(axis) for axis in cuts], "axes")
    return graph.node("Slice", [x.name, starts, ends, axes, steps])


def gather(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """Rows and columns at known places: what indexing by numbers and slices becomes."""
    x, places = operands
    numbers, sizes = how["dimension_numbers"], how["slice_sizes"]
    axes, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    if not isinstance(x, Value) or not isinstance(places, Known):
        raise refused("looks up places that it computes")
    starts = places.array
    if starts.ndim == 1:  # one place: of some axes a part, and of those none is left that are one
        lines = [range(start, start + sizes[a]) for a, start in zip(axes, starts, strict=True)]
        part = Value(_along(graph, x, axes, lines), x.shape, x.order)
        return _without(graph, part, collapsed, shape)
    # A grid of them: the i-th index depends on the i-th axis of the grid alone.
    of_axes = [
        np.moveaxis(starts[..., i], i, 0).reshape(starts.shape[i], -1) for i in range(len(axes))
    ]
    grid = all(np.all(line == line[:, :1]) for line in of_axes)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    if not grid or tuple(collapsed) != tuple(axes) or tuple(numbers.offset_dims) != kept:
        raise refused("looks up single elements")
    lines = [line[:, 0].tolist() for line in of_axes]
    return Value(_along(graph, x, axes, lines), shape, x.order)


def _along(graph: Graph, x: Value, axes: Sequence[int], lines: Sequence[Sequence[int]]) -> str:
    """What lies at those places of each axis."""
    name, cuts = x.name, {}
    for axis, line in zip(axes, lines, strict=True):
        step = line[1] - line[0] if len(line) > 1 else 1
        if step and list(line) == list(range(line[0], line[-1] + step, step)):
            if list(line) != list(range(x.shape[axis])):
                end = line[-1] + step
                cuts[axis] = (line[0], end if end >= 0 else _BEFORE_ALL, step)
        else:
            indices = graph.whole_numbers(line, "indices")
            name = graph.node("Gather", [name, indices], axis=x.order.index(axis))
    return _cut(graph, Value(name, x.shape, x.order), cuts)


def squeeze(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """Without some axes, of length 1."""
    x = value(operands[0])
    return _without(graph, x, how["dimensions"], shape)


def _without(graph: Graph, x: Value, axes: Sequence[int], shape: Any) -> Value:
    """The same without some axes, of length 1."""
    if not axes:
        return Value(x.name, shape, x.order)
    dropped = graph.whole_numbers([x.order.index(axis) for axis in axes], "axes")
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    order = tuple(left.index(axis) for axis in x.order if axis in left)
    return Value(graph.node("Squeeze", [x.name, dropped]), shape, order)
