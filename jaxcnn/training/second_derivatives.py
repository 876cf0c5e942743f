"""The diagonal of a network's second derivatives, by one pass backwards (Becker & LeCun 1989).

Each step of a computation, ``a = f(x)``, passes the second derivatives of the loss by what it gives
on to those by what it takes: ``d2E/dx_i2 = sum over k of (da_k/dx_i)^2 d2E/da_k2``. Applied to a
network this is appendix C of LeCun et al. 1998: the second derivatives by two different numbers
are left out, and the term of f'' with them, and those of a shared weight are the sum over its uses.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.api_util import debug_info
from jax.extend import core

from jaxcnn.errors import UserError

# Of the numbers in the same place of each operand.
_ELEMENTWISE = """
abs add add_any clamp convert_element_type copy div exp integer_pow log logistic max min mul neg
pow rsqrt select_n sqrt square sub tanh
"""
# Linear in each of two operands.
_PRODUCTS = "conv_general_dilated dot_general"
# Choices and sums of the operands' numbers: their derivatives, 0 and 1, are their own squares.
_SUMS = """
broadcast_in_dim concatenate gather pad reduce_max reduce_sum reduce_window_max reduce_window_sum
reshape rev scatter scatter-add slice squeeze stack transpose
"""
# Computations within a computation, by the parameter that holds them.
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


def second_derivatives(
    network: Callable[[Any], jax.Array], params: Any, of_outputs: jax.Array
) -> Any:
    """The second derivatives of a loss by each parameter.

    Those of one linear layer, each weight used once, are exact; below it, the outputs of each step
    are taken to act on the loss one by one. None is negative where those of the outputs are not.

    Args:
      network: from the parameters to the outputs.
      params: a tree of floating-point arrays.
      of_outputs: the second derivatives of the loss by each output, of the outputs' shape.

    Returns:
      A tree like ``params``.

    Raises:
      UserError: the network computes something for which there is no rule here.
    """
    leaves, structure = jax.tree.flatten(params)
    unflatten = functools.partial(jax.tree.unflatten, structure)
    closed = jax.make_jaxpr(lambda *leaves: network(unflatten(leaves)))(*leaves)
    found = _backwards(closed, leaves, [True] * len(leaves), [of_outputs])
    return unflatten(
        jnp.zeros_like(x) if h is None else h.astype(x.dtype)
        for x, h in zip(leaves, found, strict=True)
    )


def _backwards(
    closed: core.ClosedJaxpr,
    inputs: Sequence[Any],
    varying: Sequence[bool],
    by_outputs: Sequence[Any],
) -> list[Any]:
    """From the second derivatives by the outputs to those by the inputs that vary.

    None stands for zeros, as of an output that is not used.
    """
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)
    moving = set(itertools.compress(jaxpr.invars, varying))
    for step in jaxpr.eqns:
        operands = _operands(step)
        results = _function(step)(*(values[v] for v in operands))
        values |= zip(step.outvars, results, strict=True)
        if not moving.isdisjoint(operands):
            moving |= {v for v in step.outvars if jnp.issubdtype(v.aval.dtype, jnp.floating)}

    found: dict[Any, Any] = {}

    def add(variables: Sequence[Any], derivatives: Sequence[Any]) -> None:
        for variable, h in zip(variables, derivatives, strict=True):
            if h is not None and variable in moving:
                found[variable] = found[variable] + h if variable in found else h

    add(jaxpr.outvars, by_outputs)
    for step in reversed(jaxpr.eqns):
        by_results = [found.get(v) for v in step.outvars]
        if any(h is not None for h in by_results):
            operands = _operands(step)
            operand_values = [values[v] for v in operands]
            moves = [v in moving for v in operands]
            add(operands, _through(step, operand_values, moves, by_results))
    return [found.get(v) for v in jaxpr.invars]


def _through(
    step: core.JaxprEqn, operands: list[Any], moves: list[bool], by_results: Sequence[Any]
) -> Sequence[Any]:
    """From the second derivatives by a step's results to those by its operands that vary."""
    name, elementwise, function = step.primitive.name, _is_elementwise(step), _function(step)
    if name in _CALLS and not elementwise:
        return _backwards(_inside(step, operands), operands, moves, by_results)
    if not elementwise and name not in (*_PRODUCTS.split(), *_SUMS.split()):
        raise UserError(
            "optimizer.name=levenberg_marquardt knows no second derivatives of "
            f"'{name}', which this network computes; take another optimizer.name."
        )
    (h,) = by_results
    fixed = [x**2 for x in operands] if name in _PRODUCTS.split() else operands

    def by_operand(place: int) -> jax.Array:
        def result(x: jax.Array) -> jax.Array:
            return function(*fixed[:place], x, *fixed[place + 1 :])[0]

        x = operands[place]
        if not elementwise:
            made, pull = jax.vjp(result, x)
            return pull(h.astype(made.dtype))[0]
        made, slope = jax.jvp(result, (x,), (jnp.ones_like(x),))
        # One number of an operand may stand for a whole row of them.
        _, pull = jax.vjp(lambda x: jnp.broadcast_to(x, made.shape), x)
        return pull((slope**2 * h).astype(x.dtype))[0]

    return [by_operand(place) if varies else None for place, varies in enumerate(moves)]


def _operands(step: core.JaxprEqn) -> list[Any]:
    """The variables that a step takes; one that is taken twice, as in x * x, is one."""
    return list(dict.fromkeys(v for v in step.invars if not isinstance(v, core.Literal)))


def _function(step: core.JaxprEqn) -> Callable[..., Sequence[Any]]:
    """A step as a function of its operands."""
    operands, results = _operands(step), step.outvars
    about = debug_info(
        "second derivatives",
        lambda *operands: operands,
        operands,
        {},
        result_paths_thunk=lambda: ("",) * len(results),
    )
    alone = core.Jaxpr((), operands, results, [step], debug_info=about)
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))


def _is_elementwise(step: core.JaxprEqn) -> bool:
    """True of a step of which each result is made of the operands in the same place."""
    name = step.primitive.name
    if name not in _CALLS:
        return name in _ELEMENTWISE.split()
    inside = step.params[_CALLS[name]].jaxpr
    return len(inside.outvars) == 1 and all(map(_is_elementwise, inside.eqns))


def _inside(step: core.JaxprEqn, operands: Sequence[Any]) -> core.ClosedJaxpr:
    """What a call computes of its operands."""
    function = core.jaxpr_as_fun(step.params[_CALLS[step.primitive.name]])

    def called(*operands: Any) -> Any:
        values = dict(zip(_operands(step), operands, strict=True))
        return function(*(v.val if isinstance(v, core.Literal) else values[v] for v in step.invars))

    return jax.make_jaxpr(called)(*operands)
