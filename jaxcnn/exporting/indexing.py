"""Parts of arrays at places that are known, written as operators of ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.exporting.graph import Graph, Known, Operand, Parameters, Value, refused, value
from jaxcnn.exporting.moving import without

_BEFORE_ALL = -(2**31)  # where an axis that is read backwards ends, for ONNX


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


def gather(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """What lies at known places: what indexing by numbers, slices and lists of them becomes."""
    x, places = operands
    numbers, sizes = how["dimension_numbers"], how["slice_sizes"]
    axes, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
    if not isinstance(x, Value) or not isinstance(places, Known):
        raise refused("looks up places that it computes")
    counting, lines = _lines(places.array, axes, sizes, collapsed)
    part = Value(_along(graph, x, axes, lines), x.shape, x.order)
    # Of each axis of what is found, which of the array's it is.
    kept = iter(axis for axis in range(len(x.shape)) if axis not in collapsed)
    counted = iter(counting)
    found = [next(kept if i in numbers.offset_dims else counted) for i in range(len(shape))]
    gone = [axis for axis in collapsed if axis not in found]
    smaller = [length for axis, length in enumerate(x.shape) if axis not in gone]
    rest = without(graph, part, gone, tuple(smaller))
    left = [axis for axis in range(len(x.shape)) if axis not in gone]
    return Value(rest.name, shape, tuple(found.index(left[axis]) for axis in rest.order))


def _lines(
    starts: np.ndarray, axes: Sequence[int], sizes: Sequence[int], collapsed: Sequence[int]
) -> tuple[list[int], list[list[int]]]:
    """A grid of places: the axis that each axis of it counts along, and the places on each axis.

    Args:
      starts: of each place its index along each of the axes, in the last axis.
      axes: of the array that is looked up in.
      sizes: of what is taken at each place, along every axis of the array.
      collapsed: axes along which it is one element, and which are gone where they have one place.
    """
    counting: dict[int, int] = {}
    lines = []
    for i, axis in enumerate(axes):
        index = starts[..., i]
        varying = [j for j in range(index.ndim) if np.ptp(index, axis=j).any()]
        if varying and (len(varying) > 1 or varying[0] in counting or axis not in collapsed):
            raise refused("looks up elements that lie on no grid")
        for j in varying:
            counting[j] = axis
            lines.append(np.moveaxis(index, j, 0).reshape(index.shape[j], -1)[:, 0].tolist())
        if not varying:
            start = int(index.flat[0])
            lines.append(list(range(start, start + sizes[axis])))
    if len(counting) != starts.ndim - 1:
        raise refused("looks up the same place many times")
    return [counting[j] for j in range(starts.ndim - 1)], lines


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
