"""From the operations of a traced network to operators of ONNX, one at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcnn.exporting import indexing, moving, products
from jaxcnn.exporting.graph import Graph, Known, Operand, Parameters, Value, refused, value

Write = Callable[[Graph, Sequence[Operand], Parameters, tuple[Any, ...]], Operand]
"""From the operands and parameters of an operation, and its output's shape, to its output."""

# Of each element, by JAX's name and ONNX's.
_ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}

_ONE = Known(np.array(1, np.float32), ())


def write(
    graph: Graph, name: str, operands: Sequence[Operand], how: Parameters, shape: tuple[Any, ...]
) -> Operand:
    """Writes one operation of JAX.

    Args:
      graph: takes its nodes.
      name: of the operation.
      operands: what it takes, of which one at least is not known.
      how: its parameters.
      shape: of its output.

    Raises:
      UserError: ONNX is not known to have the operation.
    """
    if name in _ELEMENTWISE:
        return _elementwise(graph, _ELEMENTWISE[name], operands, shape)
    if name not in _OTHERS:
        raise refused(f"computes '{name}'" + (f" in '{graph.place}'" if graph.place else ""))
    if name not in REPEATING and any(
        isinstance(o, Known) and o.array.shape != o.shape for o in operands
    ):
        raise refused(f"computes '{name}' of one constant for every image")
    return _OTHERS[name](graph, operands, how, shape)


def _elementwise(
    graph: Graph, operator: str, operands: Sequence[Operand], shape: tuple[Any, ...]
) -> Value:
    # What is at least zero has an operator of its own.
    if operator == "Max" and any(isinstance(o, Known) and not np.any(o.array) for o in operands):
        values = [o for o in operands if isinstance(o, Value)]
        if [o.shape for o in values] == [shape]:
            operator, operands = "Relu", values
    order = next(o.order for o in operands if isinstance(o, Value) and len(o.shape) == len(shape))
    names = [graph.in_order(operand, order) for operand in operands]
    return Value(graph.node(operator, names), shape, order)


def _square(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    return _elementwise(graph, "Mul", [operands[0], operands[0]], shape)


def _rsqrt(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    root = _elementwise(graph, "Sqrt", operands, shape)
    return _elementwise(graph, "Reciprocal", [root], shape)


def _integer_pow(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    if how["y"] == 2:
        return _square(graph, operands, how, shape)
    power = np.array(how["y"], np.float32)
    return _elementwise(graph, "Pow", [operands[0], Known(power, ())], shape)


def _expm1(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    return _elementwise(graph, "Sub", [_elementwise(graph, "Exp", operands, shape), _ONE], shape)


def _log1p(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    return _elementwise(graph, "Log", [_elementwise(graph, "Add", [*operands, _ONE], shape)], shape)


def _not_equal(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    return _elementwise(graph, "Not", [_elementwise(graph, "Equal", operands, shape)], shape)


def _select(graph: Graph, operands: Sequence[Operand], _: Parameters, shape: Any) -> Value:
    which, if_false, if_true = operands
    return _elementwise(graph, "Where", [which, if_true, if_false], shape)


def _cast(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    x = value(operands[0])
    kind = np.dtype(how["new_dtype"])
    return Value(graph.node("Cast", [x.name], to=kind), shape, x.order)


def _same(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Operand:
    return operands[0]


def _reduce(operator: str) -> Write:
    def write_reduction(
        graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any
    ) -> Value:
        x = value(operands[0])
        axes = how["axes"]
        over = graph.whole_numbers([x.order.index(axis) for axis in axes], "axes")
        left = [axis for axis in range(len(x.shape)) if axis not in axes]
        order = tuple(left.index(axis) for axis in x.order if axis in left)
        return Value(graph.node(operator, [x.name, over], keepdims=0), shape, order)

    return write_reduction


def _layer(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """An operator of `jaxcnn.exporting.layers`: its channels, our last axis, are ONNX's second."""
    x = value(operands[0])
    rank = len(x.shape)
    order = (0, rank - 1, *range(1, rank - 1))
    known = [graph.constant(o.array, "statistic") for o in operands if isinstance(o, Known)]
    attributes = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in how["attributes"]
    }
    names = [graph.arranged(x, order), *known]
    return Value(graph.node(how["operator"], names, **attributes), shape, order)


_OTHERS: dict[str, Write] = {
    "broadcast_in_dim": moving.broadcast,
    "concatenate": moving.concatenate,
    "conv_general_dilated": products.convolution,
    "convert_element_type": _cast,
    "copy": _same,
    "dot_general": products.product,
    "expm1": _expm1,
    "expand_dims": moving.reshape,
    "gather": indexing.gather,
    "integer_pow": _integer_pow,
    "log1p": _log1p,
    "ne": _not_equal,
    "onnx_layer": _layer,
    "pad": moving.pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": moving.reshape,
    "rev": indexing.turned,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": indexing.part,
    "square": _square,
    "squeeze": moving.squeeze,
    "stop_gradient": _same,
    "transpose": moving.transpose,
}

REPEATING = {*_ELEMENTWISE, "broadcast_in_dim", "convert_element_type", "ne", "select_n"}
"""Operations that repeat by themselves what has a length of 1."""
