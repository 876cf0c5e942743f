"""LeNet-5's optimizer: stochastic diagonal Levenberg-Marquardt (LeCun et al. 1998, appendix C).

Each parameter has a rate of its own, ``learning_rate / (damping + h)``, with ``h`` an estimate of
the second derivative of the loss by it that is never negative. It is measured on some training
examples before each epoch, by the recursion of ``jaxcnn.training.second_derivatives``, the paper's,
and it is kept as it is until the next.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxcnn.training.gradients import Loss
from jaxcnn.training.second_derivatives import second_derivatives
from jaxcnn.training.steps import Augment, Batch
from jaxcnn.training.transformations import Curvature

_HEAD = "logits"


def with_curvature(opt_state: Any, curvature: Any) -> Any:
    """An optimizer's state with another curvature, a tree like the parameters.

    The state of another optimizer is left alone, and so are frozen layers, which have none.
    """

    def is_masked(x: Any) -> bool:
        return isinstance(x, optax.MaskedNode)

    def replaced(old: Any) -> Any:
        if not isinstance(old, Curvature):
            return old
        return Curvature(
            jax.tree.map(
                lambda old, new: old if is_masked(old) else new,
                old.curvature,
                curvature,
                is_leaf=is_masked,
            )
        )

    return jax.tree.map(replaced, opt_state, is_leaf=lambda x: isinstance(x, Curvature))


def make_curvature(
    model: nn.Module, augment: Augment, loss: Loss
) -> Callable[[Any, Batch, jax.Array], Any]:
    """The function that measures the curvature.

    The network is taken as in evaluation, without dropout. A last layer ``logits`` without
    parameters, LeNet-5's radial basis functions, is a part of the loss: the paper's loss is
    quadratic in what these are given. The second derivatives of the loss by what it is given are
    exact, but for those of two different numbers, and count as 0 where they are negative.

    Args:
      model: the network.
      augment: as in training.
      loss: of each example.

    Returns:
      A function of (variables, batch, step) that gives, for each parameter, the mean over the
      batch's examples that count of the second derivative of their loss.
    """

    def curvature(variables: Any, batch: Batch, step: jax.Array) -> Any:
        images, targets = augment(batch, step)
        params = variables["params"]

        def network(params: Any) -> tuple[jax.Array, nn.Module | None]:
            """What the loss is given, and the last layer where that is a part of the loss."""
            seen: list[tuple[jax.Array, nn.Module]] = []

            def interceptor(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
                if context.module.path == (_HEAD,) and _HEAD not in params:
                    seen.append((args[0], context.module.clone(parent=None)))
                return method(*args, **kwargs)

            with nn.intercept_methods(interceptor):
                logits = jnp.asarray(
                    model.apply({**variables, "params": params}, images, train=False)
                )
            if seen:
                return seen[0]
            return logits, None

        outputs, head = network(params)

        def total(x: jax.Array) -> jax.Array:
            return jnp.sum(loss(x if head is None else jnp.asarray(head.apply({}, x)), targets))

        def by_output(place: jax.Array) -> jax.Array:
            """The second derivative of each example's loss by one of its outputs."""
            along = jnp.zeros_like(outputs).at[:, place].set(1)
            return jax.jvp(jax.grad(total), (outputs,), (along,))[1][:, place]

        by_outputs = jax.lax.map(by_output, jnp.arange(outputs.shape[1])).T
        weights = batch["weight"][:, None] / jnp.maximum(jnp.sum(batch["weight"]), 1)
        of_outputs = weights * jnp.maximum(by_outputs, 0)
        return second_derivatives(lambda params: network(params)[0], params, of_outputs)

    return curvature
