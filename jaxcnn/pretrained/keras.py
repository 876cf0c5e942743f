"""The names of Keras' applications, whose layouts are ours, for the networks that they have."""

import functools
from collections.abc import Iterator
from typing import Any

from flax import linen as nn

from jaxcnn.models import VGG, ResNet
from jaxcnn.models.layers import BatchNorm
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.naming import Entry, Naming, Path


def keras_entries(model: VGG | ResNet) -> Iterator[Entry]:
    """Every array of a network, from the first layer to the last."""
    if isinstance(model, ResNet):
        yield from _resnet(model)
        return
    for i, (_, kernels) in enumerate(model.groups, 1):
        for j in range(1, len(kernels) + 1):
            yield from _layer((f"conv{i}_{j}",), f"block{i}_conv{j}")
    for i in range(1, len(model.hidden) + 1):
        yield from _layer((f"fc{len(model.groups) + i}",), f"fc{i}")
    yield from _layer(("logits",), "predictions")


def _resnet(model: ResNet) -> Iterator[Entry]:
    """The first paper's form; its convolutions have biases, which ours carry in the BatchNorms."""
    yield from _normalized("conv1", "bn1", (), "conv1")
    for i, blocks in enumerate(model.blocks, 1):
        for j in range(1, blocks + 1):
            path, key = (f"stage{i}", f"block{j}"), f"conv{i + 1}_block{j}"
            if j == 1:
                yield from _normalized("shortcut", "bn_shortcut", path, f"{key}_0")
            for k in range(1, 4):
                yield from _normalized(f"conv{k}", f"bn{k}", path, f"{key}_{k}")
    yield from _layer(("logits",), "predictions")


def _layer(path: Path, key: str) -> Iterator[Entry]:
    yield Entry(("params", *path, "kernel"), f"{key}/kernel")
    yield Entry(("params", *path, "bias"), f"{key}/bias")


def _normalized(convolution: str, norm: str, path: Path, key: str) -> Iterator[Entry]:
    yield Entry(("params", *path, convolution, "kernel"), f"{key}_conv/kernel")
    yield Entry(("params", *path, norm, "scale"), f"{key}_bn/gamma")
    yield Entry(("params", *path, norm, "bias"), f"{key}_bn/beta")
    mean = f"{key}_bn/moving_mean"
    yield Entry(("batch_stats", *path, norm, "mean"), mean, bias=f"{key}_conv/bias")
    yield Entry(("batch_stats", *path, norm, "var"), f"{key}_bn/moving_variance")


def _preprocessing(model: nn.Module) -> Preprocessing:
    """Caffe's, as the authors of both networks trained them: BGR, the mean subtracted alone."""
    mean = (103.939, 116.779, 123.68)
    return Preprocessing(mean, (1.0,) * 3, channel_order="BGR", shorter_side=256, crop=224)


_RESNET: dict[str, Any] = {"norm": functools.partial(BatchNorm, epsilon=1.001e-5)}

KERAS = Naming(
    "keras",
    {"vgg16": {}, "vgg19": {}, "resnet50": _RESNET, "resnet101": _RESNET, "resnet152": _RESNET},
    keras_entries,
    _preprocessing,
    headless=True,
)
