"""Operations that change where elements lie and nothing else, written as operators of ONNX."""

from collections.abc import Sequence
from typing import Any

from jaxcnn.exporting.graph import Graph, Known, Operand, Parameters, Value, refused, value


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
    """New axes, and the repetition of what has length 1.

    A known array is not repeated, which what follows does by itself.
    """
    x, places = operands[0], how["broadcast_dimensions"]
    lengths = x.array.shape if isinstance(x, Known) else x.shape
    given = dict(zip(places, lengths, strict=True))
    thin = tuple(given.get(axis, 1) for axis in range(len(shape)))
    if isinstance(x, Known):
        return Known(x.array.reshape(thin), shape)
    found = x if thin == x.shape else reshape(graph, [x], how, thin)
    if thin == shape:
        return found
    # A length of 1 leaves the batch as it is.
    wanted = [shape[axis] if isinstance(shape[axis], int) else 1 for axis in found.order]
    name = graph.node("Expand", [found.name, graph.whole_numbers(wanted, "shape")])
    return Value(name, shape, found.order)


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


def squeeze(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """Without some axes, of length 1."""
    x = value(operands[0])
    return without(graph, x, how["dimensions"], shape)


def without(graph: Graph, x: Value, axes: Sequence[int], shape: Any) -> Value:
    """The same without some axes, of length 1."""
    if not axes:
        return Value(x.name, shape, x.order)
    dropped = graph.whole_numbers([x.order.index(axis) for axis in axes], "axes")
    left = [axis for axis in range(len(x.shape)) if axis not in axes]
    order = tuple(left.index(axis) for axis in x.order if axis in left)
    return Value(graph.node("Squeeze", [x.name, dropped]), shape, order)
