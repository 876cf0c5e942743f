"""Computing again, for the backward pass, what the forward pass would have kept for it.

A network is cut into pieces where little is alive: between the blocks of a residual network, after
VGG's pools. Only what is alive at the cuts is kept; each piece is computed a second time when the
backward pass comes to it, and what is in it is alive then alone ("Training deep nets with sublinear
memory cost", Chen et al. 2016, arXiv 1604.06174). A step then costs up to one more forward pass.

No network need know of it: where to cut is read off its equations as jax traces them.

``jax.checkpoint`` would do for a piece on GPU. On CPU it saves nothing: XLA takes away the barriers
that it puts before what is computed again, and merges it with what has been computed already (seen
in what jax 0.10 compiles). Here the second computation depends on the gradient that comes back to
the piece, so that it can be neither merged nor done before its time.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

F = TypeVar("F", bound=Callable[..., Any])
Piece = Callable[..., list[jax.Array]]
# How many bounds of a piece's memory are tried, each less than the one before by this factor.
_BOUNDS, _FACTOR = 48, 0.92
_HEAVY = ("conv_general_dilated", "dot_general")


def rematerialized(function: F) -> F:
    """The same function of trees of arrays, whose gradient takes less memory and more time.

    It has no forward-mode derivative.

    Args:
      function: of parameters, which are kept anyway, and of arrays whose first axis is the batch.
    """

    def in_pieces(params: Any, *batch: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(params, *batch)
        jaxpr = closed.jaxpr
        given = [*jax.tree.leaves(params), *jax.tree.leaves(batch)]
        values: dict[core.Var, jax.Array] = dict(
            zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *given), strict=True)
        )
        lasting = {*jaxpr.constvars, *jaxpr.invars[: len(jax.tree.leaves(params))]}
        places = cuts(jaxpr)
        for start, end in itertools.pairwise(places):
            equations = jaxpr.eqns[start:end]
            made = _made(equations)
            inputs = [v for v in _read(equations) if v not in made]
            needed = {*_read(jaxpr.eqns[end:]), *_variables(jaxpr.outvars)}
            outputs = [v for v in made if v in needed]
            piece: Piece = core.jaxpr_as_fun(
                core.ClosedJaxpr(
                    jaxpr.replace(
                        constvars=[],
                        invars=inputs,
                        outvars=outputs,
                        eqns=equations,
                        debug_info=jaxpr.debug_info.with_unknown_names(),
                    ),
                    [],
                )
            )
            if end < places[-1]:  # what the last one computes is used at once
                piece = _computed_twice(piece, [v in lasting for v in inputs])
            values.update(zip(outputs, piece(*(values[v] for v in inputs)), strict=True))
        results = [v.val if isinstance(v, core.Literal) else values[v] for v in jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return in_pieces  # type: ignore[return-value]


def _computed_twice(piece: Piece, lasting: Sequence[bool]) -> Piece:
    """The same, of which the backward pass is left nothing but the inputs.

    Args:
      piece: gives a list of arrays.
      lasting: which of its inputs are no part of the batch.
    """

    @jax.custom_vjp
    def twice(*inputs: jax.Array) -> list[jax.Array]:
        return piece(*inputs)

    def forward(*inputs: jax.Array) -> tuple[list[jax.Array], tuple[jax.Array, ...]]:
        return piece(*inputs), inputs

    def backward(inputs: tuple[jax.Array, ...], gradients: list[jax.Array]) -> tuple[Any, ...]:
        awaited = max((g for g in gradients if _is_floating(g)), key=jnp.size)
        # Zero, but XLA cannot know that it is not NaN. Of each example its own: nothing is
        # exchanged between devices for it.
        first = awaited.reshape(awaited.shape[0], -1)[:, 0]
        zero = jnp.where(jnp.isnan(first), first, 0)

        def after(x: jax.Array, lasts: bool) -> jax.Array:
            if lasts or not _is_floating(x) or x.shape[:1] != zero.shape:
                return x
            return x + zero.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))

        return jax.vjp(piece, *map(after, inputs, lasting))[1](gradients)

    twice.defvjp(forward, backward)
    return twice


def _is_floating(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def cuts(jaxpr: core.Jaxpr) -> list[int]:
    """Where to cut a sequence of equations: before these, from the first on; and its length.

    The memory of the backward pass is taken to be what is alive at all cuts, and twice what the
    convolutions and matrix products of the largest piece give: their outputs and the gradients
    with respect to them. A cut may be between any two of those, where the least is alive. Of all
    ways to cut it is the one of the least memory, or near it.
    """
    alive, weights = _alive_after(jaxpr), [_weight(equation) for equation in jaxpr.eqns]
    before = [0, *itertools.accumulate(2 * weight for weight in weights)]
    heavy = [place for place, weight in enumerate(weights) if weight]
    between = [
        1 + min(range(one, other), key=lambda place: (alive[place], -place))
        for one, other in itertools.pairwise(heavy)
    ]
    places = [0, *between, len(weights)]
    best = before[-1], [0, len(weights)]
    for k in range(_BOUNDS):
        path = _cheapest(places, before, [*alive[:-1], 0], bound=before[-1] * _FACTOR**k)
        if path is None:
            break
        largest = max(before[end] - before[start] for start, end in itertools.pairwise(path))
        best = min(best, (largest + sum(alive[place - 1] for place in path[1:-1]), path))
    return best[1]


def _cheapest(
    places: Sequence[int], before: Sequence[int], alive: Sequence[int], *, bound: float
) -> list[int] | None:
    """The cuts at which the least is alive, of those whose pieces have no more than the bound."""
    costs: dict[int, tuple[int, list[int]]] = {0: (0, [0])}
    for end in places[1:]:
        reached = [
            (costs[start][0] + alive[end - 1], start)
            for start in places
            if start < end and start in costs and before[end] - before[start] <= bound
        ]
        if reached:
            cost, start = min(reached)
            costs[end] = cost, [*costs[start][1], end]
    return costs[places[-1]][1] if places[-1] in costs else None


def _alive_after(jaxpr: core.Jaxpr) -> list[int]:
    """The bytes that are alive after each equation, of what equations give and others need."""
    last_use = {v: i for i, equation in enumerate(jaxpr.eqns) for v in _read([equation])}
    alive, made, sizes = 0, set[core.Var](), []
    for i, equation in enumerate(jaxpr.eqns):
        alive -= sum(_bytes(v) for v in _read([equation]) if v in made and last_use[v] == i)
        new = [v for v in _made([equation]) if v in last_use]
        alive += sum(map(_bytes, new))
        made.update(new)
        sizes.append(alive)
    return sizes


def _weight(equation: core.JaxprEqn) -> int:
    """The bytes that an equation gives, if there is a convolution or a matrix product in it."""
    return sum(map(_bytes, equation.outvars)) if _is_heavy(equation) else 0


def _is_heavy(equation: core.JaxprEqn) -> bool:
    inner = (getattr(value, "jaxpr", value) for value in equation.params.values())
    return equation.primitive.name in _HEAVY or any(
        _is_heavy(each) for value in inner for each in getattr(value, "eqns", ())
    )


def _bytes(variable: Any) -> int:
    aval = variable.aval
    return aval.size * aval.dtype.itemsize


def _variables(atoms: Sequence[Any]) -> list[core.Var]:
    return [v for v in atoms if not isinstance(v, core.Literal)]


def _read(equations: Sequence[core.JaxprEqn]) -> list[core.Var]:
    """What equations read, each once, in order."""
    return list(dict.fromkeys(v for equation in equations for v in _variables(equation.invars)))


def _made(equations: Sequence[core.JaxprEqn]) -> dict[core.Var, None]:
    """What equations give, in order."""
    return dict.fromkeys(v for equation in equations for v in equation.outvars)
