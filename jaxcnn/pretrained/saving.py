"""Our weights as a safetensors file, which PyTorch loads where torchvision has the network."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.fitting import like_found
from jaxcnn.pretrained.mapping import naming_of, variables_to_tensors
from jaxcnn.pretrained.naming import OURS, stem_path
from jaxcnn.pretrained.network import to_json
from jaxcnn.pretrained.torchvision import TORCHVISION
from jaxcnn.version import __version__

FORMAT_VERSION = "1"
_JSON = ("fields", "preprocessing", "class_names")  # what is no text by itself


def save_weights(
    path: str | os.PathLike[str],
    name_or_model: str | nn.Module,
    variables: Mapping[str, Any],
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Writes weights that ``load_pretrained`` reads back to the bit, whole or not at all.

    Where torchvision has the very network (and only there: its ResNet-50 is ``resnet50_v1_5``), its
    names and layout are used, ``num_batches_tracked`` included, so that in PyTorch
    ``model.load_state_dict(safetensors.torch.load_file(path), strict=True)`` gives the same logits.
    In all others the names are ours, ``'conv1_1/kernel'``, and the layout is ours.

    Images have to be preprocessed alike on both sides. Of the published GoogLeNet in particular
    torchvision does a part in the network: build ``googlenet(transform_input=True)`` there to give
    it images normalised as for its other networks, or leave ``transform_input`` False and give it
    what ``preprocessing`` makes, images in [-1, 1].

    Args:
      path: of the file, usually ending in ``.safetensors``.
      name_or_model: the network, or its name, which stands for the network of that name with as
        many classes as the variables have.
      variables: the network's, of arrays of any kind; nothing but parameters and batch statistics
        is written.
      preprocessing: what the weights were trained for.
      class_names: the name of each logit.

    Raises:
      UserError: the variables are not the network's, the preprocessing or the names do not fit, the
        file cannot be written, or its name is that of another kind of file.
    """
    if Path(path).suffix in (".pth", ".pt", ".bin", ".h5"):
        raise UserError(f"{path} would be a safetensors file; end its name in .safetensors.")
    _, tensors, header = described(
        name_or_model, variables, preprocessing=preprocessing, class_names=class_names
    )
    from jaxcnn.pretrained.safetensors_files import write_safetensors

    write_safetensors(Path(path), tensors, to_text(header))


def described(
    name_or_model: str | nn.Module,
    variables: Mapping[str, Any],
    *,
    preprocessing: Preprocessing | None,
    class_names: Sequence[str] | None,
) -> tuple[nn.Module, dict[str, np.ndarray], dict[str, Any]]:
    """What is written of a network: the network, its tensors, and what is said of them, JSON-able.

    The arguments, and what is raised, are those of `save_weights`.
    """
    flat = flatten_dict(dict(variables))
    if isinstance(name_or_model, str):
        model = like_found(create_model(name_or_model), {p: np.shape(flat[p]) for p in flat})
    else:
        model = name_or_model
    name, fields = to_json(model)
    naming = naming_of(model)
    tensors = variables_to_tensors(model, variables, naming.name)
    channels = np.shape(flat[stem_path(model)])[2]
    if preprocessing is not None and len(preprocessing.mean) != channels:
        raise UserError(
            f"preprocessing for {len(preprocessing.mean)} channels does not fit weights for "
            f"{channels}."
        )
    if class_names is not None and len(class_names) != model.num_classes:
        raise UserError(f"{len(class_names)} class names do not fit {model.num_classes} classes.")
    if naming is TORCHVISION:
        for key in [key for key in tensors if key.endswith(".running_var")]:
            counter = key.replace("running_var", "num_batches_tracked")
            tensors[counter] = np.zeros((), np.int64)
    header = {
        "format": OURS.name,
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "model": name,
        "fields": fields,
        "names": naming.name,
    }
    if preprocessing is not None:
        header["preprocessing"] = preprocessing.to_json()
    if class_names is not None:
        header["class_names"] = list(class_names)
    return model, tensors, header


def to_text(header: Mapping[str, Any]) -> dict[str, str]:
    """What `described` says, as the header of a file has it: all texts, some of them JSON's."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in header.items()
    }


def from_text(header: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_text` was given, from what it gave, or from that itself.

    Raises:
      ValueError, RecursionError: a text is none of JSON's.
    """
    return {
        key: json.loads(value) if key in _JSON and isinstance(value, str) else value
        for key, value in header.items()
    }
