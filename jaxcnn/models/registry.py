"""The one table of networks: a name, and what makes the module."""

import fnmatch
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from flax import linen as nn

from jaxcnn.errors import unknown_name

_MODELS: dict[str, Callable[..., nn.Module]] = {}
_ALIASES: dict[str, str] = {}
_IMAGES: dict[str, tuple[int, int, int]] = {}


def register(
    name: str,
    make: Callable[..., nn.Module],
    aliases: Iterable[str] = (),
    *,
    images: tuple[int, int, int] = (224, 224, 3),
) -> None:
    """Enters a network under ``name``.

    Args:
      name: a name in the field's style, such as ``'vgg16_bn'``.
      make: a Linen module's class, or a partial of one.
      aliases: other names that ``create_model`` takes, such as earlier ones; they are not listed.
      images: height, width and channels of the images that it was made for.

    Raises:
      ValueError: one of the names is taken.
    """
    aliases = tuple(aliases)
    for new in (name, *aliases):
        if new in _MODELS or new in _ALIASES:
            raise ValueError(f"a model named '{new}' is registered already")
    _MODELS[name] = make
    _IMAGES[name] = images
    _ALIASES.update(dict.fromkeys(aliases, name))


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
    name = _registered(name)
    make = _MODELS[name]
    known = set(inspect.signature(make).parameters) - {"parent", "name"}
    for field in fields:
        if field not in known:
            raise unknown_name(f"field of model '{name}' called", field, known)
    return make(**fields)


def image_shape(name: str) -> tuple[int, int, int]:
    """Height, width and channels of the images that a network was made for.

    Most take others too; what their papers' figures, such as multiply-adds, are for is this.

    Raises:
      UserError: there is no such model; the nearest is suggested.
    """
    return _IMAGES[_registered(name)]


def _registered(name: str) -> str:
    """The name that a name or an alias stands for."""
    name = _ALIASES.get(name, name)
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    return name
