"""A function traced, and written to a graph of ONNX operation by operation."""

from collections.abc import Sequence

import jax
import numpy as np
from flax import linen as nn
from jax import export
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from jaxcnn.exporting import operators
from jaxcnn.exporting.classify import Classifying
from jaxcnn.exporting.graph import Graph, Known, Operand, Value
from jaxcnn.exporting.layers import kept_whole

_CALLS = ("closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "jit", "remat2")


def graph_of(classifying: Classifying) -> Graph:
    """The graph of a function for a batch of any size.

    Args:
      classifying: the function; the graph's input is ``'images'``, and its output called as the
        answers are.

    Raises:
      UserError: it computes what is not known to be an operator of ONNX.
    """
    (batch,) = export.symbolic_shape("batch")
    images = classifying.images(batch)
    with nn.intercept_methods(kept_whole):
        traced = jax.make_jaxpr(classifying.logits)(images)
    graph = Graph()
    order = tuple(range(len(images.shape)))
    (found,) = _call(graph, traced, [Value("images", images.shape, order)])
    graph.place = ""
    if not isinstance(found, Value):
        raise ValueError("the answers do not depend on the images")
    output = graph.arranged(found, tuple(range(len(found.shape))))
    if classifying.answers == "probabilities":
        output = graph.node("Softmax", [output], axis=-1)
    graph.finish(output, classifying.answers)
    return graph


def _call(graph: Graph, closed: ClosedJaxpr, operands: Sequence[Operand]) -> list[Operand]:
    consts = [Known(np.asarray(const), np.shape(const)) for const in closed.consts]
    return _write(graph, closed.jaxpr, [*consts, *operands])


def _write(graph: Graph, jaxpr: Jaxpr, operands: Sequence[Operand]) -> list[Operand]:
    """Writes every equation whose result is used; returns the outputs."""
    found = dict(zip([*jaxpr.constvars, *jaxpr.invars], operands, strict=True))

    def read(atom: Var | Literal) -> Operand:
        if isinstance(atom, Literal):
            return Known(np.asarray(atom.val, _array(atom).dtype), _array(atom).shape)
        return found[atom]

    outer = graph.place
    for equation in _used(jaxpr):
        graph.place = _place(outer, equation)
        outputs = _equation(graph, equation, [read(atom) for atom in equation.invars])
        found.update(zip(equation.outvars, outputs, strict=True))
    graph.place = outer
    return [read(atom) for atom in jaxpr.outvars]


def _equation(graph: Graph, equation: JaxprEqn, operands: Sequence[Operand]) -> list[Operand]:
    name, how = equation.primitive.name, equation.params
    if name in _CALLS:
        inner = how["jaxpr" if "jaxpr" in how else "call_jaxpr"]
        write = _call if isinstance(inner, ClosedJaxpr) else _write
        return write(graph, inner, operands)
    shape = _array(equation.outvars[0]).shape
    known = [o for o in operands if isinstance(o, Known)]
    whole = all(isinstance(length, int) for length in shape)
    whole = whole and all(o.array.shape == o.shape for o in known)
    if len(known) == len(operands) and whole:
        # It is the same for all images: computed now.
        result = equation.primitive.bind(*[o.array for o in known], **how)
        results = result if equation.primitive.multiple_results else [result]
        return [Known(np.asarray(each), np.shape(each)) for each in results]
    return [operators.write(graph, name, operands, how, shape)]


def _used(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The equations that the outputs need, in order."""
    needed = {atom for atom in jaxpr.outvars if isinstance(atom, Var)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            kept.append(equation)
            needed.update(atom for atom in equation.invars if isinstance(atom, Var))
    return kept[::-1]


def _place(outer: str, equation: JaxprEqn) -> str:
    """The layer that an equation is of: the scopes of Linen's modules within the network's."""
    scopes = str(equation.source_info.name_stack).split("/")
    return "/".join(scopes[1:]) or outer


def _array(atom: Var | Literal) -> ShapedArray:
    """What is known of an array before it is computed."""
    assert isinstance(atom.aval, ShapedArray)
    return atom.aval
