"""Transformations of gradients, in optax's form, that optax has not.

Those that remember something of the gradients take ``finite``: where it is False they keep what
they had, to the bit, and what they give is of no use.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.training.layer_patterns import chosen
from jaxcnn.training.left_out import chosen_by


def scale_by_given_rate(multiples: Mapping[str, float]) -> optax.GradientTransformationExtraArgs:
    """Multiplies the updates by the ``learning_rate`` given to ``update``, or a layer's multiple.

    ``multiples`` are by pattern, of which the first that chooses a layer holds.
    """

    def update(
        updates: Any, state: Any, params: Any = None, *, learning_rate: Any, **_: Any
    ) -> Any:
        del params

        def scale(keys: Any, u: jax.Array) -> jax.Array:
            path = [key.key for key in keys[:-1]]
            own = (multiple for pattern, multiple in multiples.items() if chosen(pattern, path))
            return jnp.asarray(next(own, 1.0) * learning_rate, u.dtype) * u

        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def add_velocity(momentum: float) -> optax.GradientTransformationExtraArgs:
    """``v = momentum v + g``, in the state of `optax.trace`."""

    def update(
        updates: Any, state: Any, params: Any = None, *, finite: jax.Array | bool = True, **_: Any
    ) -> Any:
        del params
        velocity = jax.tree.map(lambda g, v: g + momentum * v, updates, state.trace)
        velocity = chosen_by(finite, velocity, state.trace)
        return velocity, optax.TraceState(velocity)

    return optax.GradientTransformationExtraArgs(optax.trace(momentum).init, update)


def scale_by_adam(
    b1: float, b2: float, epsilon: float, *, hat: bool = False
) -> optax.GradientTransformationExtraArgs:
    """``m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)``, in the state of `optax.scale_by_adam`.

    With ``hat`` the epsilon is added to the uncorrected root: ``sqrt(v) + epsilon`` over
    ``sqrt(1 - b2^t)``.
    """

    def update(
        updates: Any, state: Any, params: Any = None, *, finite: jax.Array | bool = True, **_: Any
    ) -> Any:
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, updates, state.mu)
        nu = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * jnp.square(g), updates, state.nu)
        state = chosen_by(finite, optax.ScaleByAdamState(count, mu, nu), state)
        of_mu, of_nu = (1 - b ** jnp.asarray(count, jnp.result_type(float)) for b in (b1, b2))
        constant = epsilon / jnp.sqrt(of_nu) if hat else epsilon

        def scaled(m: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v / of_nu.astype(v.dtype)) + jnp.asarray(constant, v.dtype)
            return m / of_mu.astype(m.dtype) / root

        return jax.tree.map(scaled, state.mu, state.nu), state

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1, b2).init, update)


def limit_filters(rms: float) -> optax.GradientTransformation:
    """Makes of the updates those after which no filter of a convolution has a larger RMS.

    A filter is all that one output channel is computed with, biases apart.
    """

    def limited(keys: Any, update: jax.Array, before: jax.Array) -> jax.Array:
        if keys[-1].key != "kernel" or before.ndim != 4:
            return update
        after = before + update
        size = jnp.sqrt(jnp.mean(jnp.square(after), axis=(0, 1, 2)))
        return jnp.where(size > rms, after * (rms / size) - before, update)

    return optax.stateless(
        lambda updates, params: jax.tree_util.tree_map_with_path(limited, updates, params)
    )


class Curvature(NamedTuple):
    """What the optimizer remembers.

    Attributes:
      curvature: of each parameter, as `jaxcnn.training.levenberg_marquardt` measures it; zeros
        before the first time.
    """

    curvature: Any


def divide_by_curvature(damping: float) -> optax.GradientTransformation:
    """Divides each gradient by ``damping`` and the curvature, which is measured elsewhere."""

    def update(updates: Any, state: Curvature, params: Any = None) -> tuple[Any, Curvature]:
        del params
        return jax.tree.map(lambda u, h: u / (damping + h), updates, state.curvature), state

    return optax.GradientTransformation(
        lambda p: Curvature(jax.tree.map(jnp.zeros_like, p)), update
    )
