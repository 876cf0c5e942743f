"""A network with its trained weights, and all that is needed to use it or to make it again."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.models.layers import BatchNorm
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.naming import registered_name


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What ``load_pretrained`` gives.

    Attributes:
      model: the network.
      variables: its own, for ``model.apply(variables, images)``.
      preprocessing: what ``images`` are made by, from images in RGB; None where a file of ours was
        saved without.
      class_names: of each logit; None: not known.
      notes: what differs from the file, in a sentence each, such as a new head.
    """

    model: Any
    variables: dict[str, Any]
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...]


_MOST = 100  # numbers in the fields of a network of few layers

# What fields may hold that JSON does not know; no other function is ever looked up.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "BatchNorm": BatchNorm,
    **{
        name: getattr(nn, name)
        for name in ("celu", "elu", "gelu", "leaky_relu", "relu", "silu", "softplus", "tanh")
    },
}


def to_json(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """A network's registered name, and those of its fields that differ, for JSON.

    The axis of a ``pmap`` is no part of a network, and left out.

    Raises:
      UserError: the network is not registered, or a field is a function that is not known by name.
    """
    name = registered_name(model)
    registered = create_model(name)
    if type(model) is not type(registered):
        raise UserError(
            f"{type(model).__name__} is no network that jaxcnn could create again: register it "
            "with jaxcnn.models.register."
        )
    fields = {}
    for field in dataclasses.fields(model):
        if field.name not in ("parent", "name", "axis_name", "conv_general_dilated"):
            value = _field_to_json(field.name, getattr(model, field.name))
            if value != _field_to_json(field.name, getattr(registered, field.name)):
                fields[field.name] = value
    return name, json.loads(json.dumps(fields))


def from_json(fields: Mapping[str, Any], arrays: int) -> dict[str, Any]:
    """Fields for ``create_model``, from those that `to_json` gave.

    Args:
      fields: by name.
      arrays: how many the file holds, of which a network has some in every layer. One of a million
        layers would take hours to make.

    Raises:
      ValueError, TypeError, KeyError, AttributeError: they are nothing that it could have given.
    """
    if sum(_most_layers(field, value) for field, value in fields.items()) > _MOST + 10 * arrays:
        raise ValueError(f"it describes far more layers than its {arrays} arrays can be of")
    return {field: _field_from_json(field, value) for field, value in fields.items()}


def _most_layers(field: str, value: Any) -> int:
    """As many layers as a field may ask for at most: an item each, or in each stage so many."""
    if isinstance(value, list):
        return sum(_most_layers(field, item) for item in value)
    return value if field == "blocks" and isinstance(value, int) else 1


def _field_to_json(field: str, value: Any) -> Any:
    if field == "dtype":
        return jnp.dtype(value).name
    if isinstance(value, tuple | list):
        return [_field_to_json(field, item) for item in value]
    if not callable(value):
        return value
    function = getattr(value, "func", value)
    for name, known in _FUNCTIONS.items():
        if function is known and not getattr(value, "args", ()):
            return {"function": name, "keywords": getattr(value, "keywords", {})}
    raise UserError(
        f"the field {field} is {value}, which cannot be written to a file; what can: "
        f"{', '.join(_FUNCTIONS)}, or a functools.partial of one."
    )


def _field_from_json(field: str, value: Any) -> Any:
    if field == "dtype":
        return getattr(jnp, jnp.dtype(value).name)
    if isinstance(value, list):
        return tuple(_field_from_json(field, item) for item in value)
    if isinstance(value, dict):
        function = _FUNCTIONS[value["function"]]
        return functools.partial(function, **value["keywords"]) if value["keywords"] else function
    return value
