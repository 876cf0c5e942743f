"""The logits and layers of Keras' networks, computed by its PyTorch backend."""

import json
import os
import re

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras.src.backend.common import dtypes
from reference_weights import images, weights
from references.torch_networks import NONE, SIZES, Arrays, kept, kept_features

# Except on TensorFlow, Keras' matrix products and normalisations turn float64 into float32.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

# Keras' VGG has no adaptive pooling; of these the pools leave 7 x 7, too.
KERAS_VGG_SIZES = {"224": (1, 224, 224), "other": (1, 231, 249)}
# Whose outputs are kept on the way, at the other size.
KERAS_MODULES = {
    "VGG16": r"block\d_conv\d|block\d_pool|fc\d",
    "ResNet50": r"conv1_relu|pool1_pool|conv\d_block\d_out|conv[23]_block1_[0-3]_(bn|relu)",
}


def keras_network(name: str, shape: tuple[int, ...], dtype: str) -> keras.Model:
    """One of Keras' applications with the reference's weights, without its softmax."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(*shape, 3), classifier_activation=None)
    tensors = keras_tensors(model)
    for key, array in weights({key: tuple(t.shape) for key, t in tensors.items()}).items():
        tensors[key].assign(array)
    return model


def keras_tensors(model: keras.Model) -> Arrays:
    return {f"{layer.name}/{t.name}": t for layer in model.layers for t in layer.weights}


def keras_outputs(model: keras.Model, pattern: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Of the layers whose names match, and of the last."""
    names = [layer.name for layer in model.layers if re.fullmatch(pattern, layer.name)]
    names = [*dict.fromkeys([*names, model.layers[-1].name])]
    outputs = [model.get_layer(name).output for name in names]
    values = keras.Model(model.inputs, outputs)([pixels], training=False)
    values = values if isinstance(values, list) else [values]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}


def keras_references() -> Arrays:
    arrays: Arrays = {}
    for name in ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"):
        for size, shape in (KERAS_VGG_SIZES if name.startswith("VGG") else SIZES).items():
            pattern = KERAS_MODULES.get(name, NONE) if size == "other" else NONE
            outputs = []
            for dtype in ("float64", "float32"):
                model = keras_network(name, shape[1:], dtype)
                outputs.append(keras_outputs(model, pattern, images(*shape).astype(dtype)))
            exact, single = outputs
            arrays |= kept(f"{name}/{size}", exact["predictions"], single["predictions"])
            if len(exact) > 1:
                arrays |= kept_features(name, exact, single)
        layout = {key: tuple(tensor.shape) for key, tensor in keras_tensors(model).items()}
        arrays[f"{name}/shapes"] = json.dumps(layout)
    return arrays
