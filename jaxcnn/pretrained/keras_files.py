"""Keras' files of weights (HDF5), read without Keras.

Three forms, told apart by what lies at the top of the file:

1. Weights files of Keras 1 and 2, such as ``vgg16_weights_tf_dim_ordering_tf_kernels.h5``: the
   attribute ``layer_names``, and for every layer a group with the attribute ``weight_names``.
2. Whole models saved as ``.h5`` by any Keras: the same within the group ``model_weights``.
3. ``.weights.h5`` of Keras 2.13 and later: ``layers/GROUP/vars/0``, ``.../1`` and so on. GROUP is
   the layer's class and a number that counts the layers of that class in the order of
   ``model.layers``: ``conv2d``, ``conv2d_1``, ... The layer's own name is the attribute ``name`` of
   ``vars``, which Keras 3.15 writes and 2.13, 2.15 and 3.5 do not.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator

import numpy as np

from jaxcnn.pretrained.bounded_file import BoundedFile
from jaxcnn.pretrained.hdf5 import Hdf5File, Node
from jaxcnn.pretrained.refusal import Refusal, damaged, shown

# In the order in which Keras numbers them, of layers by class and number of variables.
_AFFINE, _NORMALIZATION = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")
_NUMBERED = {
    ("conv2d", 1): _AFFINE,
    ("conv2d", 2): _AFFINE,
    ("dense", 1): _AFFINE,
    ("dense", 2): _AFFINE,
    ("batch_normalization", 4): _NORMALIZATION,
}
# Keras 1's names for them. What it calls a standard deviation is the variance.
_KERAS_1 = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
# Keras 2.13 counts every layer that has variables twice: conv2d, conv2d_2, ...
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_COUNTED = re.compile(r"(.*?)(?:(?:^|_)(\d{1,9}))?", re.DOTALL)
_VARIABLE = re.compile(rf"({'|'.join([*_AFFINE, *_NORMALIZATION, *_KERAS_1])})(?:_\d+)?(?::\d+)?")
_MOST_MODELS = 100  # within one another


def read_keras(file: BoundedFile) -> dict[str, np.ndarray]:
    """The variables of a model as ``'LAYER/VARIABLE'``, such as ``'conv1_bn/moving_mean'``.

    LAYER is the layer's own name: of a layer inside another model its innermost one. Only where a
    ``.weights.h5`` holds no names is it automatic, ``'conv2d'``, ``'conv2d_1'``, ``'dense'``,
    ``'batch_normalization_12'``: the class, and how many layers of that class come before it in
    ``model.layers`` (of a model inside another, ``'functional.conv2d_1'``). In Keras' ResNets the
    shortcut of a block comes after its second convolution: ``conv2_block1_1_conv``, ``_2_conv``,
    ``_0_conv``, ``_3_conv``; the normalisations likewise.
    VARIABLE is ``kernel``, ``bias``, ``gamma``, ``beta``, ``moving_mean`` or ``moving_variance``,
    else as the file has it. Layers come in the order of ``layer_names``; in the third form sorted
    by class and number.

    Args:
      file: the file.

    Raises:
      Refusal: the file is damaged, or is not one that Keras writes.
    """
    tensors: dict[str, np.ndarray] = {}
    try:
        for name, variable in _variables(Hdf5File(file).root):
            if name in tensors:
                raise Refusal(f"holds {shown(name)} twice: save the inner model's weights alone.")
            tensors[name] = variable.array()
    except (struct.error, ValueError, OverflowError) as error:
        raise damaged("is no whole HDF5 file") from error
    if not tensors:
        raise Refusal("is an HDF5 file, but holds no variables of layers as Keras writes them.")
    return tensors


def _variables(root: Node) -> Iterator[tuple[str, Node]]:
    top = root.child("model_weights") if "model_weights" in root else root
    layers = _names(top, "layer_names")
    if not layers:
        yield from _numbered(top, "", set())
    for layer in layers:
        group = top.child(layer)
        weights = _names(group, "weight_names")
        # Several owners are the layers of a model that is itself a layer.
        several = len({weight.rpartition("/")[0] for weight in weights}) > 1
        for weight in weights:
            path = weight.split("/")
            owner = path[-2] if several and len(path) > 1 else layer
            known = _VARIABLE.fullmatch(path[-1].removeprefix(f"{owner}_"))
            variable = _KERAS_1.get(known[1], known[1]) if known else path[-1]
            yield f"{owner}/{variable}", group.child(weight)


def _numbered(model: Node, outer: str, seen_models: set[int]) -> Iterator[tuple[str, Node]]:
    container = next((name for name in _CONTAINERS if name in model), None)
    if container is None:
        return
    if model.address in seen_models or len(seen_models) == _MOST_MODELS:
        raise damaged("holds models within models without end")
    seen_models.add(model.address)
    layers = model.child(container)
    seen: Counter[str] = Counter()
    for group_name in sorted(layers, key=_class_and_number):
        kind, _ = _class_and_number(group_name)
        automatic = f"{outer}{kind}_{seen[kind]}" if seen[kind] else f"{outer}{kind}"
        seen[kind] += 1
        group = layers.child(group_name)
        if "vars" in group:
            variables = group.child("vars")
            (name,) = variables.strings("name") or [automatic]
            numbers = sorted(variables, key=_class_and_number)
            known = dict(zip("0123", _NUMBERED.get((kind, len(numbers)), ()), strict=False))
            for number in numbers:
                yield f"{name}/{known.get(number, number)}", variables.child(number)
        yield from _numbered(group, f"{automatic}.", seen_models)


def _class_and_number(name: str) -> tuple[str, int]:
    """('conv2d', 12) for 'conv2d_12', ('conv2d', 0) for 'conv2d', ('', 3) for '3'."""
    counted = _COUNTED.fullmatch(name)
    return (counted[1], int(counted[2] or 0)) if counted else (name, 0)


def _names(group: Node, attribute: str) -> list[str]:
    """The strings of an attribute, which Keras splits into numbered ones where they are many."""
    names = group.strings(attribute)
    number = 0
    while part := group.strings(f"{attribute}{number}"):
        names += part
        number += 1
    return names
