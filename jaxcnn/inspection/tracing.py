"""A network's calls of its layers, read off a trace of it: nothing is computed.

Every module's call is marked in the trace where it begins and where it ends, by operations that do
nothing; then the trace is followed from the images on.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Jaxpr, Literal

from jaxcnn.inspection.extents import Extent, ReceptiveField, field_of, union
from jaxcnn.inspection.multiply_adds import multiply_adds, variable_elements
from jaxcnn.inspection.receptive_fields import RULES, Operation, seen_by

# Operations that do what is traced inside them, once and with the same arguments.
_CALLS = ("jit", "closed_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
_ENTER, _LEAVE = "jaxcnn.inspection enters ", "jaxcnn.inspection leaves "


class Call(NamedTuple):
    """One call of a module.

    Attributes:
      path: of the module in the network.
      kind: its class.
      output: what it returned, or the first array of that.
      multiply_adds: of what it did itself, without the modules that it called.
      field: what each unit of the output sees, if that can be said of all in one.
      calls: whether it called modules.
    """

    path: tuple[str, ...]
    kind: str
    output: jax.ShapeDtypeStruct
    multiply_adds: int
    field: ReceptiveField | None
    calls: bool


class _Value(NamedTuple):
    """What is known of an array in a trace.

    Attributes:
      variable: how many of its elements are not constants.
      extents: what it sees of the image's rows, and of its columns.
    """

    variable: int
    extents: tuple[Extent | None, Extent | None]


def calls(
    function: Callable[..., Any], others: Any, images: jax.ShapeDtypeStruct
) -> tuple[list[Call], Any]:
    """Traces a function of a network.

    Args:
      function: ``model.init`` or ``model.apply``.
      others: the shapes of what the function takes before the images.
      images: their shape, (batch, height, width, channels).

    Returns:
      The calls of modules, each where it ended and the network's own last; and the shapes of what
      the function returns.
    """
    modules: list[tuple[tuple[str, ...], str]] = []

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        if context.method_name != "__call__":
            return method(*args, **kwargs)
        number = len(modules)
        modules.append((context.module.path, type(context.module).__name__))
        args, kwargs = _marked((args, kwargs), f"{_ENTER}{number}")
        return _marked(method(*args, **kwargs), f"{_LEAVE}{number}")

    with nn.intercept_methods(interceptor):
        # A function of its own, or JAX would remember a trace with other marks.
        trace, shapes = jax.make_jaxpr(lambda *given: function(*given), return_shape=True)(
            others, images
        )
    given = [_Value(_size(leaf.shape), (None, None)) for leaf in jax.tree.leaves(others)]
    height, width = images.shape[1:3]
    image = _Value(_size(images.shape), (Extent(height, 1, height), Extent(width, 2, width)))
    walk = _Walk(modules)
    walk.follow(trace.jaxpr, [*given, image])
    return walk.ended, shapes


def _marked(tree: Any, mark: str) -> Any:
    """The same, its first array passed through an operation of that name."""
    leaves, structure = jax.tree.flatten(tree)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaves[i] = checkpoint_name(leaf, mark)
            break
    return jax.tree.unflatten(structure, leaves)


class _Walk:
    """Follows a trace, operation by operation, in the order in which they were made.

    Attributes:
      modules: path and class of each module called, by the number of the call.
      ended: the calls that have ended.
    """

    def __init__(self, modules: Sequence[tuple[tuple[str, ...], str]]) -> None:
        self.modules = modules
        self.ended: list[Call] = []
        # Of the calls that have not: the number, the multiply-adds, and whether it called others.
        self._open: list[list[Any]] = []

    def follow(self, jaxpr: Jaxpr, arguments: Sequence[_Value], times: int = 1) -> list[_Value]:
        """What is known of a trace's results.

        Args:
          jaxpr: the trace.
          arguments: what is known of its arguments.
          times: how often it is run, for each operation to count.
        """
        known: dict[Any, _Value] = dict(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> _Value:
            nothing = _Value(0, (None, None))
            return nothing if isinstance(variable, Literal) else known.get(variable, nothing)

        for equation in jaxpr.eqns:
            inputs = [read(variable) for variable in equation.invars]
            name = equation.primitive.name
            inner = [] if name in RULES else list(_jaxprs(equation.params))
            if not inner:
                outputs = [self._operation(equation, inputs, times)] * len(equation.outvars)
            elif name in _CALLS:
                outputs = self.follow(inner[0], inputs, times)
            else:
                outputs = self._repeated(equation, inner, inputs, times)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _operation(self, equation: Any, inputs: Sequence[_Value], times: int) -> _Value:
        variable = [value.variable for value in inputs]
        operation = Operation(
            equation.primitive.name,
            equation.params,
            [of.aval.shape for of in equation.invars],
            equation.outvars[0].aval.shape,
            [not count for count in variable],
        )
        rows, columns = (
            seen_by(operation, [value.extents[axis] for value in inputs]) for axis in (0, 1)
        )
        output = _Value(variable_elements(operation, variable), (rows, columns))
        if self._open:
            self._open[-1][1] += times * multiply_adds(operation, variable)
        if operation.name == "name":
            self._mark(operation.params["name"], equation.outvars[0].aval, output)
        return output

    def _mark(self, mark: str, aval: Any, value: _Value) -> None:
        if mark.startswith(_ENTER):
            if self._open:
                self._open[-1][2] = True
            self._open.append([int(mark.removeprefix(_ENTER)), 0, False])
        elif mark.startswith(_LEAVE):
            number = int(mark.removeprefix(_LEAVE))
            # A module that took no array or returned none is not among them, or still is.
            count, called = 0, False
            while self._open and self._open[-1][0] >= number:
                _, count, called = self._open.pop()
            output = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
            self.ended.append(
                Call(*self.modules[number], output, count, field_of(*value.extents), called)
            )

    def _repeated(
        self, equation: Any, inner: Sequence[Jaxpr], inputs: Sequence[_Value], times: int
    ) -> list[_Value]:
        """A loop, a choice, or what is not known: its results see no more than all it is given.

        What is repeated an unknown number of times counts once, and of a choice every case.
        """
        times *= equation.params.get("length", 1)
        seen = [[value.extents[axis] for value in inputs] for axis in (0, 1)]
        rows, columns = (union([of and of.blurred() for of in extents]) for extents in seen)

        def blurred(variables: Sequence[Any]) -> list[_Value]:
            return [_Value(_size(of.aval.shape), (rows, columns)) for of in variables]

        for jaxpr in inner:
            self.follow(jaxpr, blurred(jaxpr.invars), times)
        return blurred(equation.outvars)


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    """The traces inside an operation."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(part, "jaxpr", part)
            if isinstance(jaxpr, Jaxpr):
                yield jaxpr


def _size(shape: Sequence[int]) -> int:
    return math.prod(shape)
