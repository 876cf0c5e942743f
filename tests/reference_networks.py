"""Our networks with the references' weights, and how close they come to the references."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from reference_weights import weights

from jaxcnn import models
from jaxcnn.models.layers import BatchNorm
from jaxcnn.pretrained.mapping import tensors_to_variables
from jaxcnn.pretrained.naming import Entry, TorchKernel

FOLDER = Path(__file__).parent / "references"

# Batch, height and width of the images; Keras' VGG takes those of which its pools leave 7 x 7.
SIZES = {"224": (1, 224, 224), "other": (2, 97, 130)}
KERAS_VGG_SIZES = {"224": (1, 224, 224), "other": (1, 231, 249)}
CLASSES = slice(None, None, 3)  # whose logits are kept

# Ours by their names, where they differ. Keras' begin with a capital.
NETWORKS = {
    "alexnet": "alexnet_owt",
    "googlenet": "googlenet_bn",
    "resnet50": "resnet50_v1_5",
    "resnet101": "resnet101_v1_5",
    "resnet152": "resnet152_v1_5",
}


@functools.cache
def references(file):
    with np.load(FOLDER / f"{file}.npz") as arrays:
        return {name: array if array.shape else array.item() for name, array in arrays.items()}


def library(name):
    return "keras" if name[0].isupper() else "torchvision"


def network(name, **fields) -> nn.Module:
    if name.startswith("ResNet"):
        fields = {"norm": functools.partial(BatchNorm, epsilon=1.001e-5), **fields}
    return models.create_model(NETWORKS.get(name, name.lower()), **fields)


def tensors(file, name):
    """The reference's own tensors, float32, by its names and in its layouts."""
    return weights(json.loads(references(file)[f"{name}/shapes"]))


@functools.lru_cache(maxsize=1)
def _variables(name):
    found, naming = tensors(library(name), name), library(name)
    if naming == "keras":  # in whose ResNets biases are taken from means
        found = as_dtype(found, np.float64)
    return tensors_to_variables(network(name), found, naming)


def variables(name, dtype=np.float64):
    """What our network of that name takes, made of the reference's tensors."""
    return as_dtype(_variables(name), dtype)


def as_dtype(tree, dtype):
    return jax.tree.map(lambda array: array.astype(dtype, copy=False), tree)


def paper_alexnet(**fields) -> nn.Module:
    """The narrow form of the paper's network that the references have."""
    fields = {"width": 24, "hidden": (48, 32), "num_classes": 10, "dropout": 0.0, **fields}
    return models.AlexNet(**fields, dtype=np.float64)


def paper_alexnet_entries():
    """Where its arrays are in the references, which have our names and PyTorch's layouts."""
    layers = {f"conv{i}": TorchKernel() for i in range(1, 6)}
    layers |= {"fc6": TorchKernel(window=6, matrix=True)}
    layers |= {"fc7": TorchKernel(matrix=True), "logits": TorchKernel(matrix=True)}
    for layer, layout in layers.items():
        yield Entry(("params", layer, "kernel"), f"{layer}.weight", layout)
        yield Entry(("params", layer, "bias"), f"{layer}.bias")


def from_entries(model, entries, found):
    """Our variables from a reference's tensors, for networks that the library does not have."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3)))
    flat = {}
    for entry in entries:
        shape = functools.reduce(lambda tree, key: tree[key], entry.path, shapes).shape
        flat[entry.path] = entry.to_ours(found, shape)
    return unflatten_dict(flat)


def run(function, *arguments, optimization=0):
    """Compiled with little optimisation, as each function runs once, and at full precision."""
    options = {"xla_backend_optimization_level": optimization}
    with jax.default_matmul_precision("highest"):
        return jax.jit(function, compiler_options=options)(*arguments)


def excess(ours, theirs, deviation=None, rounding=0.0):
    """How many times further apart two arrays are than they may be.

    In float64 the largest difference may be 1e-9 of the reference's standard deviation. In float32
    the root mean square may be three times that of the reference library's own float32 (the
    largest of a thousand errors is chance), and the largest 1e-4.

    Args:
      ours: what our network computed, in the precision to judge by.
      theirs: the reference, in float64.
      deviation: the reference's standard deviation, if ``theirs`` is but a part of it.
      rounding: the root mean square error of the library's float32, in standard deviations.
    """
    assert np.shape(ours) == np.shape(theirs)
    difference = np.asarray(ours, np.float64) - theirs
    difference = difference / (np.std(theirs) if deviation is None else deviation)
    largest = np.max(np.abs(difference))
    if ours.dtype == np.float64:
        return float(largest / 1e-9)
    return float(max(np.sqrt(np.mean(difference**2)) / (3 * rounding), largest / 1e-4))
