"""Whether tensors are those of a network, and of which."""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.models import create_model
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

Tensors = Mapping[str, np.ndarray]


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


def like_tensors(model: nn.Module, naming: Naming, tensors: Tensors) -> nn.Module:
    """`like_found`, of tensors by the names of a library."""
    keys = {entry.path: entry.key for entry in naming.entries(model)}
    found = {path: np.shape(tensors[key]) for path, key in keys.items() if key in tensors}
    return like_found(model, found)


def in_file(model: nn.Module, naming: Naming, tensors: Tensors) -> tuple[Entry, ...]:
    """Every array of the network; without the head where a file may be, and is, without."""
    entries = tuple(naming.entries(model))
    body = tuple(entry for entry in entries if not in_head(entry.path))
    found = any(key in tensors for entry in entries if entry not in body for key in entry.keys)
    return entries if found or not naming.headless else body


def shapes_in(model: nn.Module, naming: Naming, tensors: Tensors) -> dict[Path, Any]:
    """Of all arrays of the network, for images with the tensors' number of channels."""
    entries = {entry.path: entry for entry in naming.entries(model)}
    stem, first = entries[stem_path(model)], entries.get(("params", "fc6", "kernel"))
    kernel = np.shape(tensors.get(stem.key, ()))
    channels = kernel[1 if stem.layout else 2] if len(kernel) == 4 else 3
    rows = None
    if first is not None and first.layout is None:
        rows = (*np.shape(tensors.get(first.key, ())), None)[0]
    return variable_shapes(model, max(channels, 1), rows)


def expected(entries: Iterable[Entry], shapes: Mapping[Path, Any]) -> dict[str, Shape]:
    """Shapes of a library's tensors by key, from those of our arrays by path."""
    return {
        key: entry.their_shape(shapes[entry.path].shape) for entry in entries for key in entry.keys
    }


def misfit(model: nn.Module, naming: Naming, tensors: Tensors) -> str | None:
    """Why tensors do not fit a network that the library has, in a few words."""
    entries = in_file(model, naming, tensors)
    keys = {key for entry in entries for key in entry.keys}
    missing = [key for entry in entries for key in entry.keys if key not in tensors]
    if missing:
        return f"it lacks {_first(missing)}"
    ignored = set()
    if not getattr(model, "auxiliary", True):  # the file may have what the network is not to have
        whole = naming.entries(model.clone(auxiliary=True))
        ignored = {key for entry in whole for key in entry.keys}
    surplus = [
        key
        for key in tensors
        if key not in keys | ignored and not key.endswith(".num_batches_tracked")
    ]
    if surplus:
        return f"it has {_first(surplus)}, of which the network knows nothing"
    for key, shape in expected(entries, shapes_in(model, naming, tensors)).items():
        if np.shape(tensors[key]) != shape:
            return f"{shown(key)} should have the shape {shape}, and has {np.shape(tensors[key])}"
        if not jnp.issubdtype(tensors[key].dtype, jnp.floating):
            return f"{shown(key)} holds {tensors[key].dtype}, not floating-point numbers"
    return None


def fitting(naming: Naming, tensors: Tensors) -> str | None:
    """The registered network that tensors fit, if there is one."""
    for name, fields in naming.networks.items():
        model = like_tensors(create_model(name, **fields), naming, tensors)
        if misfit(model, naming, tensors) is None:
            return name
    return None


def another_network(
    model: nn.Module, naming: Naming, tensors: Tensors, source: object
) -> UserError:
    """An error for a network that computes something else than any of the library's.

    Args:
      model: the network.
      naming: of the library.
      tensors: what was to be loaded; empty if nothing was.
      source: what to call them.
    """
    name, fits = registered_name(model), fitting(naming, tensors)

    def difference(other: str) -> list[str]:
        fields = differing_fields(model, create_model(other, **naming.networks[other]))
        return [field for field in fields if field not in FREE_FIELDS]

    def likeness(other: str) -> tuple[int, float]:
        return -len(difference(other)), SequenceMatcher(a=name, b=other).ratio()

    nearest = fits or max(naming.networks, key=likeness)
    alike = type(model) is type(create_model(nearest))
    how = f" (they differ in {', '.join(difference(nearest))})" if alike else ""
    if fits:
        return UserError(
            f"{source} fits '{fits}', which computes something else than '{name}'{how}: load it by "
            "that name."
        )
    begin = f"{source} does not fit '{name}': " if tensors else ""
    return UserError(
        f"{begin}{naming.name} has no network that computes what '{name}' does; its nearest is "
        f"'{nearest}'{how}."
    )


def _first(keys: list[str]) -> str:
    others = len(keys) - 1
    return shown(keys[0]) + (f" and {others} other{'s' * (others > 1)}" if others else "")
