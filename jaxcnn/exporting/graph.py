"""A graph of ONNX as it grows: nodes by name, and arrays whose axes lie in any order."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.errors import UserError

Order = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Value:
    """An array that the graph computes.

    Our networks are NHWC and ONNX's operators NCHW; where axes lie is kept apart from what they
    are, so that nothing is transposed but where an operator has to have it otherwise.

    Attributes:
      name: in the graph.
      shape: as JAX has it; the batch is a symbol.
      order: of each axis in memory, which of ``shape`` it is.
    """

    name: str
    shape: tuple[Any, ...]
    order: Order


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """An array that is known when the graph is made.

    Attributes:
      array: of as many axes; one of length 1 stands for one of any length.
      shape: as JAX has it.
    """

    array: np.ndarray
    shape: tuple[Any, ...]


Operand = Value | Known
Parameters = dict[str, Any]
"""Of an operation, by JAX's names."""


def refused(what: str) -> UserError:
    """An error for what is not known to be an operator of ONNX."""
    return UserError(f"the network {what}, which is not written as ONNX; export it as StableHLO.")


def value(operand: Operand) -> Value:
    """The operand of an operation that is only written where it is not known."""
    if not isinstance(operand, Value):
        raise refused("computes a constant for every image")
    return operand


@dataclasses.dataclass(eq=False)
class Node:
    """An operator of ONNX, with names of what it takes and of the one array that it gives."""

    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class Graph:
    """Nodes in the order in which they are computed, and the constants among their inputs."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.place = ""
        """What is being written, such as ``'conv1_1'``: names begin with it."""
        self._taken: dict[str, int] = {}
        self._same: dict[tuple[Any, ...], str] = {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        output = self._free(operator)
        self.nodes.append(Node(operator, list(inputs), output, attributes))
        return output

    def constant(self, array: np.ndarray, name: str = "constant") -> str:
        """The name of a constant; small ones that are equal are one."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else (id(array),)
        if key not in self._same:
            self._same[key] = self._free(name)
            self.constants[self._same[key]] = array
        return self._same[key]

    def whole_numbers(self, numbers: Sequence[int], name: str = "numbers") -> str:
        """The name of a constant of int64, as ONNX has axes and shapes."""
        return self.constant(np.array(numbers, np.int64), name)

    def arranged(self, value: Value, order: Order) -> str:
        """The name of an array in that order in memory, transposed if it is in another."""
        if value.order == order:
            return value.name
        key = ("arranged", value.name, order)
        if key not in self._same:
            swap = [value.order.index(axis) for axis in order]
            self._same[key] = self.node("Transpose", [value.name], perm=swap)
        return self._same[key]

    def in_order(self, operand: Operand, order: Order) -> str:
        """The name of an operand in that order in memory; of a number in none."""
        if isinstance(operand, Value):
            return self.arranged(operand, order) if operand.shape else operand.name
        array = operand.array
        return self.constant(array.transpose(order) if array.ndim else array)

    def finish(self, output: str, name: str) -> None:
        """Drops what the output does not need, joins what is one operator, and names the output."""
        self._add_biases(output)
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if node.output in needed:
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {each: a for each, a in self.constants.items() if each in needed}
        self._rename(name)

    def _add_biases(self, output: str) -> None:
        """Convolutions and matrix products take what is added to them, as their biases."""
        makers = {node.output: node for node in self.nodes}
        uses: dict[str, int] = {output: 1}
        for node in self.nodes:
            for name in node.inputs:
                uses[name] = uses.get(name, 0) + 1
        for node in self.nodes:
            if node.operator != "Add":
                continue
            product, bias = node.inputs
            if product in self.constants:
                product, bias = bias, product
            maker, added = makers.get(product), self.constants.get(bias)
            if maker is None or added is None or uses[product] > 1 or len(maker.inputs) != 2:
                continue
            weights = self.constants.get(maker.inputs[1])
            if weights is None or added.ndim != weights.ndim:
                continue
            if maker.operator == "Conv" and added.shape[1] == added.size == weights.shape[0]:
                node.operator, node.attributes = "Conv", maker.attributes
            elif maker.operator == "MatMul" and added.shape == (1, weights.shape[1]):
                node.operator = "Gemm"
            else:
                continue
            node.inputs = [*maker.inputs, self.constant(added.reshape(-1), f"{bias}_bias")]

    def _rename(self, last: str) -> None:
        """Calls every output after its layer and its operator, as joined, and the last as given."""
        self._taken, new = {}, {}
        for node in self.nodes:
            self.place = node.output.rpartition("/")[0]
            new[node.output] = self._free(node.operator)
        new[self.nodes[-1].output] = last
        for node in self.nodes:
            node.inputs = [new.get(name, name) for name in node.inputs]
            node.output = new[node.output]

    def _free(self, name: str) -> str:
        wanted = f"{self.place}/{name}" if self.place else name
        self._taken[wanted] = self._taken.get(wanted, 0) + 1
        count = self._taken[wanted]
        return wanted if count == 1 else f"{wanted}_{count}"
