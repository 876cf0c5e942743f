"""The one table of networks: a name, and the function that makes the module."""

import fnmatch
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxcnn.errors import UserError, unknown_name

_MODELS: dict[str, Callable[..., nn.Module]] = {}


def register(name: str, make: Callable[..., nn.Module]) -> None:
    """Enters a network under ``name``; ``make(**fields)`` returns its Linen module.

    Raises:
      ValueError: the name is taken.
    """
    if name in _MODELS:
        raise ValueError(f"a model named '{name}' is registered already")
    _MODELS[name] = make


def list_models(pattern: str = "*") -> list[str]:
    """Every registered name that matches a shell-style pattern such as ``'vgg*_bn'``, sorted."""
    return sorted(fnmatch.filter(_MODELS, pattern))


def create_model(name: str, **fields: Any) -> nn.Module:
    """The network of that name, its fields overridden by ``fields``.

    Args:
      name: one of ``list_models()``.
      **fields: fields of the module, such as ``num_classes=10`` or ``dtype=jnp.bfloat16``.

    Raises:
      UserError: there is no such model, or the model has no such field; the nearest is suggested.
    """
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    model = _MODELS[name]()
    known = set(model.__dataclass_fields__) - {"parent", "name"}
    for field in fields:
        if field not in known:
            raise unknown_name(f"field of model '{name}' called", field, known)
    try:
        return model.clone(**fields)
    except ValueError as error:
        raise UserError(str(error)) from error
