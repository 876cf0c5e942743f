"""How a signal goes back through a network to the image: four rules, one transpose.

Whatever a network computes between a layer and the image is linear but for its activations, its
max pools and its local response normalisations. The transpose of the linear parts (convolutions
without their biases, averages, trained BatchNorm, concatenations and sums of branches) is what
`jax.vjp` applies to a signal; the three others are where the rules differ:

  rule       activation f, of input x     max pool               local response normalisation
  gradient   f'(x) * signal               shared between ties    its derivative
  guided     f'(x) * max(signal, 0)       to the first maximum   its derivative
  deconvnet  f(signal)                    to the first maximum   passed unchanged
  reach      the signal's sign            to all                 passed unchanged

`deconvnet` is that of Zeiler & Fergus 2013, section 2.1: "unpool" by the places of the maxima
(switches), rectify by the network's own ReLU, filter by the transposed kernels. The paper does not
speak of undoing the contrast normalisation, and so nothing is undone here. `guided` is the guided
backpropagation of Springenberg et al. 2014. Where several elements of a window are its maximum,
the switch is in the leftmost column that has one, at the topmost there. Through branches the signal
goes along each, and what comes back is added up, as the transpose has it. `reach` is for weights
that are all alike: what comes back is not zero where the image can make a difference.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcnn.errors import UserError, unknown_name
from jaxcnn.models import features
from jaxcnn.models.layers import Activation, LocalResponseNorm, MaxPool

Rule = Literal["gradient", "guided", "deconvnet", "reach"]


@contextlib.contextmanager
def going_back_by(rule: Rule) -> Iterator[None]:
    """Within it, networks that are differentiated send signals back by a rule.

    What they compute is the same (but by `reach`, when max pools add up); only what `jax.vjp`, or
    `jax.grad`, makes of it is not.

    Raises:
      UserError: there is no such rule.
    """
    if rule not in get_args(Rule):
        raise unknown_name("rule", rule, get_args(Rule))

    def at_the_network(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        # Flax calls the interceptor that came last first around a method. Entered only here, ours
        # comes after that of `features`, which then sees what ours gives.
        if context.method_name == "__call__" and not context.module.path:
            with nn.intercept_methods(functools.partial(_at_a_layer, rule)):
                return method(*args, **kwargs)
        return method(*args, **kwargs)

    if rule == "gradient":
        yield
    else:
        with nn.intercept_methods(at_the_network):
            yield


def layer_of(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    name: str,
    *,
    rule: Rule = "gradient",
) -> jax.Array:
    """A layer's output, whose derivative is that of a rule.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(batch, height, width, channels)``.
      name: of the layer, one of ``feature_names(model)``.
      rule: how a signal goes back.

    Returns:
      Shape ``(batch, rows, columns, channels)``, or ``(batch, units)`` after the maps.

    Raises:
      UserError: there is no such layer, the nearest is suggested, or no such rule.
    """
    with going_back_by(rule):
        return features(model, variables, images, (name,))[name]


def layer_shape(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, name: str
) -> tuple[int, ...]:
    """The shape of what `layer_of` returns; nothing is computed.

    Raises:
      UserError: there is no such layer; the nearest is suggested.
    """
    return jax.eval_shape(lambda v, x: layer_of(model, v, x, name), variables, images).shape


def check_channels(shape: tuple[int, ...], name: str, channels: tuple[int, ...]) -> None:
    """Raises a UserError where a layer of that output has not got the channels."""
    for channel in channels:
        if not 0 <= channel < shape[-1]:
            raise UserError(
                f"layer '{name}' has no channel {channel}; they are 0 to {shape[-1] - 1}."
            )


def _at_a_layer(
    rule: Rule,
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    module = context.module
    if context.method_name == "__call__":
        if isinstance(module, MaxPool):
            return module.pooled(args[0], jnp.add if rule == "reach" else _first_of_the_largest)
        if isinstance(module, Activation):
            back = functools.partial(_through_activation, rule, module.function)
            return _sent_back_by(back, args[0], lax.stop_gradient(method(*args)))
        if isinstance(module, LocalResponseNorm) and rule != "guided":
            normalized = lax.stop_gradient(method(*args))
            return _sent_back_by(lambda _, signal: signal, args[0], normalized)
    return method(*args, **kwargs)


def _first_of_the_largest(one: jax.Array, other: jax.Array) -> jax.Array:
    """The maximum, whose gradient is all the first one's where they tie."""
    return jnp.where(one >= other, one, other)


def _through_activation(
    rule: Rule, function: Callable[[jax.Array], jax.Array], x: jax.Array, signal: jax.Array
) -> jax.Array:
    if rule == "deconvnet":
        return function(signal)
    if rule == "reach":
        return jnp.sign(signal)
    _, back = jax.vjp(function, x)
    return back(nn.relu(signal))[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sent_back_by(
    back: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array
) -> jax.Array:
    """``y``, which was computed of ``x``; a signal at it becomes ``back(x, signal)`` at ``x``."""
    del back, x
    return y


def _sent_forward(
    back: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    del back
    return y, x


def _sent_back(
    back: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, signal: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return back(x, signal), jnp.zeros_like(signal)


_sent_back_by.defvjp(_sent_forward, _sent_back)
