"""From tensors by the names of a library to the variables of our networks, and back."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError, unknown_name
from jaxcnn.models import create_model
from jaxcnn.pretrained.keras import KERAS
from jaxcnn.pretrained.naming import (
    FREE_FIELDS,
    Entry,
    Naming,
    Path,
    Shape,
    differing_fields,
    registered_name,
    stem_path,
    variable_shapes,
)
from jaxcnn.pretrained.refusal import shown
from jaxcnn.pretrained.torchvision import TIMM, TORCHVISION

NAMINGS: dict[str, Naming] = {naming.name: naming for naming in (TORCHVISION, TIMM, KERAS)}
OURS = "jaxcnn"
"""Our own names, ``'conv1_1/kernel'``, which every network has, in our own layout."""


def expected_keys(model: nn.Module, naming: str, in_channels: int = 3) -> dict[str, Shape]:
    """The key and the shape of every tensor that a file of such a network has.

    Args:
      model: the network.
      naming: ``'torchvision'``, ``'timm'``, ``'keras'`` or ``'jaxcnn'``.
      in_channels: of the images.

    Raises:
      UserError: there is no such naming, or the library has no network that computes the same.
    """
    return _expected(entries(model, naming), variable_shapes(model, in_channels))


def tensors_to_variables(
    model: nn.Module,
    tensors: Mapping[str, np.ndarray],
    naming: str,
    *,
    source: object = "what is given",
) -> dict[str, Any]:
    """The variables of a network, from tensors by key. No number is changed but in Keras' ResNets.

    The number of input channels is the tensors' own. Of Keras the head may be missing altogether
    (``include_top=False``), and is then missing in what is returned.

    Args:
      model: the network.
      tensors: arrays of any floating-point type, which is kept.
      naming: ``'torchvision'``, ``'timm'``, ``'keras'`` or ``'jaxcnn'``.
      source: what to call the tensors where they do not fit.

    Returns:
      Variables as ``model.init`` returns them, of numpy arrays.

    Raises:
      UserError: the tensors do not fit: a key is missing or too many, or a shape is another. The
        network that they do fit is named, if there is one.
    """
    if naming in NAMINGS and not NAMINGS[naming].covers(model):
        raise _not_covered(model, NAMINGS[naming], tensors, source)
    mapped = entries(model, naming)
    head = [entry for entry in mapped if in_head(entry.path)]
    if naming == KERAS.name and not any(entry.key in tensors for entry in head):
        mapped = tuple(entry for entry in mapped if entry not in head)
    shapes = _shapes(model, mapped, tensors)
    problem = _problem(mapped, shapes, tensors, _ignored(model, naming))
    if problem is not None:
        other = _fitting(tensors, NAMINGS[naming]) if naming in NAMINGS else None
        advice = f"; it fits '{other}': load it by that name" if other else ""
        raise UserError(f"{source} does not fit '{registered_name(model)}': {problem}{advice}.")
    return unflatten_dict({e.path: e.to_ours(tensors, shapes[e.path].shape) for e in mapped})


def variables_to_tensors(
    model: nn.Module, variables: Mapping[str, Any], naming: str | None = None
) -> dict[str, np.ndarray]:
    """What `tensors_to_variables` makes the variables of, to the bit.

    Args:
      model: the network.
      variables: its own, of arrays of any kind; collections that ``model.init`` does not make are
        left out.
      naming: ``'torchvision'``, ``'timm'`` or ``'jaxcnn'``. None: as `naming_of` says.

    Raises:
      UserError: the variables are not the network's, or it has no such names.
    """
    naming = naming_of(model) if naming is None else naming
    if naming == KERAS.name:
        raise UserError(
            "weights are not written in Keras' names; choose 'torchvision' or 'jaxcnn'."
        )
    own = entries(model, OURS)
    flat = {
        path: np.asarray(array)
        for path, array in flatten_dict(dict(variables)).items()
        if path[0] in {entry.path[0] for entry in own}
    }
    keyed = {"/".join(path[1:]): array for path, array in flat.items()}
    problem = _problem(own, _shapes(model, own, keyed), keyed)
    if problem is not None:
        raise UserError(
            f"these are not the variables of this '{registered_name(model)}': {problem}."
        )
    return {e.key: np.asarray(e.to_theirs(flat[e.path]), order="C") for e in entries(model, naming)}


def entries(model: nn.Module, naming: str) -> tuple[Entry, ...]:
    """Every array of a network, and where it is under the names of ``naming``.

    Raises:
      UserError: there is no such naming, or the library has no network that computes the same.
    """
    if naming == OURS:
        return tuple(Entry(path, "/".join(path[1:])) for path in variable_shapes(model))
    if naming not in NAMINGS:
        raise unknown_name("naming", naming, (OURS, *NAMINGS))
    if not NAMINGS[naming].covers(model):
        raise _not_covered(model, NAMINGS[naming], {}, "such a network")
    return tuple(NAMINGS[naming].entries(model))


def naming_of(model: nn.Module) -> str:
    """``'torchvision'`` for the networks that torchvision has too, ``'jaxcnn'`` for all others."""
    return TORCHVISION.name if TORCHVISION.covers(model) else OURS


def in_head(path: Path) -> bool:
    """Whether an array is of the fully connected layers that end a network."""
    return path[1] == "logits" or path[1].startswith("fc")


def like_found(model: nn.Module, shapes: Mapping[Path, Shape]) -> nn.Module:
    """The network with as many classes as what is found, and auxiliary classifiers if it has any.

    Args:
      model: the network.
      shapes: of the arrays that are found, by their paths in our variables; of kernels any.
    """
    head = shapes.get(("params", "logits", "bias"), ())
    fields: dict[str, Any] = {"num_classes": head[0]} if len(head) == 1 else {}
    if getattr(model, "auxiliary", False) and not any(p[1].startswith("aux_") for p in shapes):
        fields["auxiliary"] = False
    return model.clone(**fields)


def as_in(tensors: Mapping[str, np.ndarray], naming: Naming, model: nn.Module) -> nn.Module:
    """`like_found` of tensors by the names of a library."""
    keys = {entry.path: entry.key for entry in naming.entries(model)}
    found = {path: np.shape(tensors[key]) for path, key in keys.items() if key in tensors}
    return like_found(model, found)


def _expected(mapped: Iterable[Entry], shapes: Mapping[Path, Any]) -> dict[str, Shape]:
    return {
        key: entry.their_shape(shapes[entry.path].shape) for entry in mapped for key in entry.keys
    }


def _shapes(
    model: nn.Module, mapped: Iterable[Entry], tensors: Mapping[str, np.ndarray]
) -> dict[Path, Any]:
    """Of all arrays of the network, for images with the tensors' number of channels."""
    by_path = {entry.path: entry for entry in mapped}
    stem = by_path[stem_path(model)]
    kernel = np.shape(tensors.get(stem.key, ()))
    channels = kernel[1 if stem.layout else 2] if len(kernel) == 4 else 3
    first = np.shape(tensors.get("fc6/kernel", ()))  # which of an AlexNet's sizes, in our names
    return variable_shapes(model, max(channels, 1), rows=first[0] if len(first) == 2 else None)


def _problem(
    mapped: Iterable[Entry],
    shapes: Mapping[Path, Any],
    tensors: Mapping[str, np.ndarray],
    ignored: Iterable[str] = (),
) -> str | None:
    """Why tensors do not fit, in a few words."""
    expected = _expected(mapped, shapes)
    given = [key for key in tensors if not key.endswith(".num_batches_tracked")]
    missing = [key for key in expected if key not in tensors]
    if missing:
        return f"it lacks {_first(missing)}"
    surplus = [key for key in given if key not in expected and key not in set(ignored)]
    if surplus:
        return f"it has {_first(surplus)}, of which the network knows nothing"
    for key, shape in expected.items():
        if np.shape(tensors[key]) != shape:
            return f"{shown(key)} should have the shape {shape}, and has {np.shape(tensors[key])}"
        if not jnp.issubdtype(tensors[key].dtype, jnp.floating):
            return f"{shown(key)} holds {tensors[key].dtype}, not floating-point numbers"
    return None


def _first(keys: list[str]) -> str:
    others = len(keys) - 1
    return shown(keys[0]) + (f" and {others} other{'s' * (others > 1)}" if others else "")


def _ignored(model: nn.Module, naming: str) -> list[str]:
    """Keys of auxiliary classifiers that the network is not to have."""
    if naming == OURS or getattr(model, "auxiliary", True):
        return []
    return [entry.key for entry in NAMINGS[naming].entries(model.clone(auxiliary=True))]


def _fitting(tensors: Mapping[str, np.ndarray], naming: Naming) -> str | None:
    """The registered network that tensors fit, if there is one."""
    for name, fields in naming.networks.items():
        model = as_in(tensors, naming, create_model(name, **fields))
        mapped = tuple(naming.entries(model))
        if {key for entry in mapped for key in entry.keys} <= tensors.keys():
            shapes = _shapes(model, mapped, tensors)
            if _problem(mapped, shapes, tensors, _ignored(model, naming.name)) is None:
                return name
    return None


def _not_covered(
    model: nn.Module, naming: Naming, tensors: Mapping[str, np.ndarray], source: object
) -> UserError:
    """An error for a network that computes something else than any of the library's."""
    name, fitting = registered_name(model), _fitting(tensors, naming)

    def likeness(other: str) -> tuple[int, float]:
        return -len(difference(other)), SequenceMatcher(a=name, b=other).ratio()

    def difference(other: str) -> list[str]:
        fields = differing_fields(model, create_model(other, **naming.networks[other]))
        return [field for field in fields if field not in FREE_FIELDS]

    nearest = fitting or max(naming.networks, key=likeness)
    alike = type(model) is type(create_model(nearest))
    how = f" (they differ in {', '.join(difference(nearest))})" if alike else ""
    if fitting:
        return UserError(
            f"{source} fits '{fitting}', which computes something else than '{name}'{how}: load it "
            "by that name."
        )
    return UserError(
        f"{naming.name} has no network that computes what '{name}' does; its nearest is "
        f"'{nearest}'{how}."
    )
