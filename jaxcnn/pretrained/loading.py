"""From a file of weights to a network that is ready to use."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.adapting import with_channels, with_classes
from jaxcnn.pretrained.class_names import IMAGENET_CLASSES, imagenet_names
from jaxcnn.pretrained.files import WeightFile, read_tensors
from jaxcnn.pretrained.fitting import in_head, like_tensors
from jaxcnn.pretrained.hub import at_hand, read_folder
from jaxcnn.pretrained.keras import KERAS
from jaxcnn.pretrained.mapping import tensors_to_variables
from jaxcnn.pretrained.naming import OURS, Naming, differing_fields, variable_shapes
from jaxcnn.pretrained.network import Pretrained, from_json
from jaxcnn.pretrained.saving import FORMAT_VERSION, from_text
from jaxcnn.pretrained.torchvision import TIMM, TORCHVISION


def load_pretrained(
    name: str,
    source: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    seed: int = 0,
    **fields: Any,
) -> Pretrained:
    """A network with the weights of a file, and the preprocessing that they were trained for.

    Files of torchvision (``.pth``, ``.safetensors``), of timm (``.safetensors``; VGG and ResNet),
    of Keras (``.h5``, ``.weights.h5``; VGG and ResNet, with or without the top) and of ours
    (``jaxcnn.pretrained.save_weights``) are known by what is in them. Weights are taken for the
    very network that they were trained in, never for one of the same shapes: torchvision's AlexNet
    is ``alexnet_owt``, its GoogLeNet ``googlenet_bn``, its ResNet-50 ``resnet50_v1_5``; Keras' is
    ``resnet50``.

    Args:
      name: of the network, one of ``list_models()``.
      source: path of the file, or of a folder that `jaxcnn.pretrained.save_folder` wrote; or the
        name of such a folder on the Hugging Face hub, ``'user/model'`` or ``'user/model@revision'``
        (with the extra ``hub``).
      num_classes: None, for the file's; another number makes a new head.
      in_channels: None, for the file's; 1 sums the first kernel over its input channels so that a
        grey image gives what its RGB copy gave, n repeats them in turn, scaled by 3 / n; the
        preprocessing follows.
      seed: of a new head, drawn by the network's own initialisation.
      **fields: other fields of the network, such as ``dropout=0.2`` or ``dtype=jnp.bfloat16``.

    Returns:
      The network, its variables as ``model.init`` would make them, and what was adapted. The class
      names of other libraries' files of 1000 classes are ImageNet's. Images of
      another size, and ``dense=True``, need nothing. The preprocessing of torchvision's GoogLeNet
      includes its ``transform_input``, which its published weights were trained with.

    Raises:
      UserError: there is no such network or field, the file is not one of weights, or does not fit:
        the sentence names the key, the shapes, and the network that it does fit.
    """
    for what, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if number is not None and number < 1:
            raise UserError(f"{what} must be at least 1, not {number}.")
    create_model(name, **fields)  # a wrong name is told before a large file is read
    path = at_hand(source)
    file, header = read_folder(path) if path.is_dir() else (read_tensors(path), {})
    header = header or file.metadata
    if header.get("format") == OURS.name:
        network = _ours(name, source, header, file.tensors, fields)
    else:
        network = _published(name, source, file, fields)
    return _as_initialized(with_classes(with_channels(network, in_channels), num_classes, seed))


def _published(
    name: str, source: str | os.PathLike[str], file: WeightFile, fields: Mapping[str, Any]
) -> Pretrained:
    """From a file of another library."""
    tensors, notes = _without_prefix(file.tensors), []
    naming = _naming(file, tensors)
    model = create_model(name, **{**naming.networks.get(name, {}), **fields})
    if naming.covers(model):
        found = like_tensors(model, naming, tensors)
        if "auxiliary" in fields:
            found = found.clone(auxiliary=fields["auxiliary"])
        elif getattr(found, "auxiliary", None) != getattr(model, "auxiliary", None):
            notes.append("no auxiliary classifiers, which the file lacks: auxiliary=False")
        model = found
    variables = tensors_to_variables(model, tensors, naming.name, source=source)
    if not any(in_head(path) for path in flatten_dict(variables)):
        notes.append("the file is without the top")
    # A file without names that has as many classes as ImageNet is taken for one of ImageNet.
    names = imagenet_names() if model.num_classes == IMAGENET_CLASSES else None
    return Pretrained(model, variables, naming.preprocessing(model), names, tuple(notes))


def _ours(
    name: str,
    source: str | os.PathLike[str],
    header: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    fields: Mapping[str, Any],
) -> Pretrained:
    """From what `save_weights` or `save_folder` wrote."""
    if header.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{source} was written by jaxcnn {header.get('version')} in a format that this one "
            "does not know; bring jaxcnn up to date."
        )
    try:
        header = from_text(header)
        saved, naming = header["model"], header["names"]
        saved_fields = from_json(header["fields"], len(tensors))
        preprocessing, class_names = header.get("preprocessing"), header.get("class_names")
        written = create_model(saved, **saved_fields)
        variable_shapes(written)
        if preprocessing is not None:
            preprocessing = Preprocessing.from_json(preprocessing)
        if class_names is not None:
            class_names = tuple(map(str, class_names))
            if len(class_names) != written.num_classes:
                raise ValueError(f"{len(class_names)} names of {written.num_classes} classes")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{source} has a damaged header ({type(error).__name__}: {error}); save it again."
        ) from error
    asked, nearest = (len(differing_fields(written, create_model(n))) for n in (name, saved))
    if asked > nearest:
        raise UserError(
            f"{source} holds weights of '{saved}', not of '{name}': load it by that name."
        )
    model = create_model(saved, **{**saved_fields, **fields})
    variables = tensors_to_variables(model, tensors, naming, source=source)
    return Pretrained(model, variables, preprocessing, class_names, ())


def _naming(file: WeightFile, tensors: Mapping[str, np.ndarray]) -> Naming:
    if file.kind == "keras":
        return KERAS
    return (
        TIMM if any(key.startswith(("pre_logits.", "head.fc.")) for key in tensors) else TORCHVISION
    )


def _without_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the 'module.' that PyTorch's DataParallel puts before every key."""
    prefix = "module."
    if not all(key.startswith(prefix) for key in tensors):
        return dict(tensors)
    return {key.removeprefix(prefix): array for key, array in tensors.items()}


def _as_initialized(network: Pretrained) -> Pretrained:
    """With variables of the types that ``model.init`` gives, as arrays of jax."""
    flat, notes = flatten_dict(network.variables), list(network.notes)
    types = {path: leaf.dtype for path, leaf in variable_shapes(network.model).items()}
    if any(
        jnp.finfo(array.dtype).bits > jnp.finfo(types[path]).bits for path, array in flat.items()
    ):
        notes.append(
            "the file's float64 is rounded to float32: float64 needs jax_enable_x64 and "
            "dtype=jnp.float64"
        )
    variables = {path: jnp.array(array, types[path]) for path, array in flat.items()}
    return dataclasses.replace(network, variables=unflatten_dict(variables), notes=tuple(notes))
