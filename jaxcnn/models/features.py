"""What a network computes on the way to its logits, by the names of its layers.

A feature is the output of a layer, its name the layer's path: ``'relu3_3'`` in a VGG,
``'stage1/block1/conv1'`` in a ResNet. Nothing has to be written in a network for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import DenyList
from flax.errors import FlaxError

from jaxcnn.errors import unknown_name


class _AllFound(Exception):  # noqa: N818 - it is no error: it ends a forward pass early
    """Every feature asked for has been computed."""


def features(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    names: Iterable[str],
    *,
    train: bool = False,
    **apply_arguments: Any,
) -> dict[str, jax.Array]:
    """The outputs of the named layers.

    A pure function of ``variables`` and ``images``, to be jitted, differentiated and mapped. The
    network runs up to the last layer asked for: those behind it cost nothing, and their
    parameters need not be in ``variables``.

    Args:
      model: the network.
      variables: what ``model.init`` returns, or the part of it that is reached.
      images: what the network takes.
      names: names of layers, each one of ``feature_names(model)``.
      train: as in the network's call; updates of ``batch_stats`` are thrown away.
      **apply_arguments: more arguments of ``model.apply``, such as ``rngs`` or ``dense=True``.

    Returns:
      The features by name, in the order of ``names``.

    Raises:
      UserError: the network has no layer of a name given; the nearest is suggested.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    found: dict[str, jax.Array] = {}
    passed: list[str] = []

    def keep(name: str, output: Any) -> None:
        passed.append(name)
        if name in wanted:
            found.setdefault(name, output)
        if len(found) == len(set(wanted)):
            raise _AllFound

    try:
        with nn.intercept_methods(_layer_interceptor(keep)):
            model.apply(
                variables,
                images,
                train=train,
                mutable=DenyList("params") if train else False,
                **apply_arguments,
            )
    except _AllFound:
        return {name: found[name] for name in wanted}
    except FlaxError:
        # A misspelt name runs on into layers whose parameters may rightly be missing.
        _check_names(wanted, feature_names(model, images.shape))
        raise
    _check_names(wanted, passed)
    return {}


def feature_names(model: nn.Module, shape: tuple[int, ...] = (1, 224, 224, 3)) -> tuple[str, ...]:
    """Every name that ``features`` takes, in the order in which the layers are computed.

    Args:
      model: the network.
      shape: of images that the network takes; nothing is computed for them.
    """
    passed: dict[str, None] = {}

    def trace(images: jax.Array) -> Any:
        return model.init(jax.random.key(0), images)

    with nn.intercept_methods(_layer_interceptor(lambda name, _: passed.setdefault(name))):
        jax.eval_shape(trace, jax.ShapeDtypeStruct(shape, jnp.float32))
    return tuple(passed)


def _layer_interceptor(visit: Callable[[str, Any], None]) -> Callable[..., Any]:
    """Calls ``visit(name, output)`` after the call of every layer, but for the network itself."""

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        output = method(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path:
            visit("/".join(context.module.path), output)
        return output

    return interceptor


def _check_names(wanted: Iterable[str], known: Iterable[str]) -> None:
    for name in wanted:
        if name not in known:
            raise unknown_name("feature of this network", name, known)
