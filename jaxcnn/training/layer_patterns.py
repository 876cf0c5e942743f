"""Layers chosen by a regular expression, to be frozen or to have a learning rate of their own.

A pattern matches whole names of layers, their paths as in features and checkpoints: ``'conv3_3'``,
``'stage1/block1/conv1'``. With a layer it chooses all that is in it (``'stage[12]'``), and the
BatchNorm that is named after it: ``'bn3_3'`` with ``'conv3_3'``, ``'bn_shortcut'`` with
``'shortcut'``.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.errors import UserError


def chosen(pattern: str | None, path: Sequence[str]) -> bool:
    """True when the pattern chooses the layer at ``path``; None chooses none."""
    if pattern is None:
        return False
    *parents, last = path
    named_after = []
    if last.startswith("bn"):
        named_after = [f"conv{last[2:]}", last[2:].removeprefix("_")]
    paths = [path[:depth] for depth in range(1, len(path) + 1)]
    paths += [[*parents, name] for name in named_after]
    return any(re.fullmatch(pattern, "/".join(names)) for names in paths)


def chosen_leaves(pattern: str | None, params: Any) -> Any:
    """A tree of bools like ``params``: which of them are in layers that the pattern chooses."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: chosen(pattern, [key.key for key in keys[:-1]]), params
    )


def check_expression(field: str, pattern: str) -> None:
    """Raises a UserError for what is no regular expression; ``field`` is what to call it."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{field}={pattern} is not a regular expression: {error}.") from error


def check_chooses(field: str, pattern: str, params: Any) -> None:
    """Raises a UserError, with the nearest names, for a pattern that chooses no layer."""
    if any(jax.tree.leaves(chosen_leaves(pattern, params))):
        return
    names: dict[str, None] = {}
    for keys, _ in jax.tree_util.tree_leaves_with_path(params):
        path = [key.key for key in keys[:-1]]
        names |= dict.fromkeys("/".join(path[:depth]) for depth in range(1, len(path) + 1))
    nearest = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
    raise UserError(
        f"{field}={pattern} matches no layer of this network, whose names are such as "
        f"{', '.join(nearest)}; the whole name must match, as conv.* does conv1_1."
    )


def running_statistics(pattern: str | None) -> Callable[..., Any]:
    """An interceptor for ``nn.intercept_methods``, by which chosen BatchNorms stay as they are.

    In training too they normalise by their running statistics, and leave those alone.
    """

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if (
            not isinstance(module, nn.BatchNorm)
            or context.method_name != "__call__"
            or module.use_running_average is True
            or not chosen(pattern, module.path)
        ):
            return method(*args, **kwargs)
        # The same layer, on the same variables, as it is outside training.
        kwargs = {name: value for name, value in kwargs.items() if name != "use_running_average"}
        return module.clone(parent=module.scope, use_running_average=True)(args[0], **kwargs)

    return interceptor
