"""Convolutions, matrix products and means, written as operators of ONNX."""

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.exporting.graph import Graph, Known, Operand, Parameters, Value, refused


def convolution(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """A convolution by a known kernel, in whatever layout JAX has either."""
    x, kernel = operands
    if not isinstance(x, Value) or not isinstance(kernel, Known):
        raise refused("convolves by a kernel that it computes")
    layout, padding = how["dimension_numbers"], how["padding"]
    if how["batch_group_count"] != 1 or any(each != 1 for each in how["lhs_dilation"]):
        raise refused("has a convolution that is transposed, or grouped by images")
    weights = graph.constant(kernel.array.transpose(layout.rhs_spec), "weight")
    found = graph.node(
        "Conv",
        [graph.arranged(x, tuple(layout.lhs_spec)), weights],
        kernel_shape=[kernel.array.shape[axis] for axis in layout.rhs_spec[2:]],
        strides=list(how["window_strides"]),
        dilations=list(how["rhs_dilation"]),
        pads=[int(width[side]) for side in (0, 1) for width in padding],
        group=how["feature_group_count"],
    )
    return Value(found, shape, tuple(layout.out_spec))


def product(graph: Graph, operands: Sequence[Operand], how: Parameters, shape: Any) -> Value:
    """``dot_general``: a matrix product, or else an ``Einsum``, or a mean where it is one."""
    (left_axes, right_axes), (left_batch, right_batch) = how["dimension_numbers"]
    left, right = operands
    if (mean := _mean(graph, left, right, left_axes, right_axes, shape)) is not None:
        return mean
    plain = (left_axes, right_axes, left_batch) == ((1,), (0,), ())
    if plain and len(left.shape) == len(right.shape) == 2:
        names = [graph.in_order(operand, (0, 1)) for operand in operands]
        return Value(graph.node("MatMul", names), shape, (0, 1))
    letters = iter(string.ascii_lowercase)
    of_left = [next(letters) for _ in left.shape]
    of_right = [next(letters) for _ in right.shape]
    for ours, theirs in ((left_axes, right_axes), (left_batch, right_batch)):
        for axis, other in zip(ours, theirs, strict=True):
            of_right[other] = of_left[axis]
    found = [of_left[axis] for axis in left_batch]
    for axes, of_each in ((left_axes, of_left), (right_axes, of_right)):
        summed = {of_each[axis] for axis in axes}
        found += [letter for letter in of_each if letter not in summed and letter not in found]
    terms, names = [], []
    for operand, of_each in ((left, of_left), (right, of_right)):
        order = operand.order if isinstance(operand, Value) else tuple(range(len(of_each)))
        terms.append("".join(of_each[axis] for axis in order))
        names.append(graph.in_order(operand, order))
    equation = f"{','.join(terms)}->{''.join(found)}"
    return Value(graph.node("Einsum", names, equation=equation), shape, tuple(range(len(shape))))


def _mean(
    graph: Graph,
    weights: Operand,
    x: Operand,
    weights_axes: Sequence[int],
    axes: Sequence[int],
    shape: Any,
) -> Value | None:
    """A product with equal weights that sum to 1 and have no other axes: a mean."""
    if not isinstance(weights, Known) or not isinstance(x, Value):
        return None
    array = weights.array
    others = [axis for axis in range(array.ndim) if axis not in weights_axes]
    count = math.prod(array.shape)
    equal = np.allclose(array, 1 / count, rtol=1e-6, atol=0)
    if not equal or any(array.shape[axis] != 1 for axis in others) or len(others) != len(axes):
        return None
    over = graph.whole_numbers([x.order.index(axis) for axis in axes], "axes")
    found = graph.node("ReduceMean", [x.name, over], keepdims=1)
    # What is left of the axes, of length 1, stands for those of the weights.
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    places = {axis: i for i, axis in enumerate([*axes, *kept])}
    return Value(found, shape, tuple(places[axis] for axis in x.order))
