"""From tensors by the names of a library to the variables of our networks, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError, unknown_name
from jaxcnn.pretrained.fitting import another_network, expected, fitting, in_file, misfit, shapes_in
from jaxcnn.pretrained.keras import KERAS
from jaxcnn.pretrained.naming import OURS, Naming, Shape, registered_name, variable_shapes
from jaxcnn.pretrained.torchvision import TIMM, TORCHVISION

NAMINGS: dict[str, Naming] = {n.name: n for n in (TORCHVISION, TIMM, KERAS, OURS)}


def expected_keys(model: nn.Module, naming: str, in_channels: int = 3) -> dict[str, Shape]:
    """The key and the shape of every tensor that a file of such a network has.

    Args:
      model: the network.
      naming: ``'torchvision'``, ``'timm'``, ``'keras'``, or ``'jaxcnn'``, which every network has.
      in_channels: of the images.

    Raises:
      UserError: there is no such naming, or the library has no network that computes the same.
    """
    names = _naming(naming)
    if not names.covers(model):
        raise another_network(model, names, {}, "")
    return expected(names.entries(model), variable_shapes(model, in_channels))


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
    names = _naming(naming)
    if not names.covers(model):
        raise another_network(model, names, tensors, source)
    problem = misfit(model, names, tensors)
    if problem is not None:
        other = fitting(names, tensors)
        advice = f"; it fits '{other}': load it by that name" if other else ""
        raise UserError(f"{source} does not fit '{registered_name(model)}': {problem}{advice}.")
    entries, shapes = in_file(model, names, tensors), shapes_in(model, names, tensors)
    return unflatten_dict({e.path: e.to_ours(tensors, shapes[e.path].shape) for e in entries})


def variables_to_tensors(
    model: nn.Module, variables: Mapping[str, Any], naming: str | None = None
) -> dict[str, np.ndarray]:
    """What `tensors_to_variables` makes the variables of, to the bit.

    Args:
      model: the network.
      variables: its own, of arrays of any kind; collections that ``model.init`` does not make are
        left out.
      naming: ``'torchvision'``, ``'timm'`` or ``'jaxcnn'``. None: torchvision's names where it has
        the very network, else ours.

    Raises:
      UserError: the variables are not the network's, or it has no such names.
    """
    names = naming_of(model) if naming is None else _naming(naming)
    if names is KERAS:
        raise UserError(
            "weights are not written in Keras' names; choose 'torchvision' or 'jaxcnn'."
        )
    if not names.covers(model):
        raise another_network(model, names, {}, "")
    flat = {
        path: np.asarray(array)
        for path, array in flatten_dict(dict(variables)).items()
        if path[0] in ("params", "batch_stats")
    }
    problem = misfit(model, OURS, {"/".join(path[1:]): array for path, array in flat.items()})
    if problem is not None:
        raise UserError(
            f"these are not the variables of this '{registered_name(model)}': {problem}."
        )
    return {
        entry.key: np.asarray(entry.to_theirs(flat[entry.path]), order="C")
        for entry in names.entries(model)
    }


def naming_of(model: nn.Module) -> Naming:
    """Torchvision's names for the networks that it has too, ours for all others."""
    return TORCHVISION if TORCHVISION.covers(model) else OURS


def _naming(name: str) -> Naming:
    if name not in NAMINGS:
        raise unknown_name("naming", name, NAMINGS)
    return NAMINGS[name]
