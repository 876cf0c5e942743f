"""A trained network for other classes, or for images of another number of channels."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.naming import Path, stem_path, variable_shapes
from jaxcnn.pretrained.network import Pretrained


def with_classes(network: Pretrained, num_classes: int | None, seed: int) -> Pretrained:
    """Draws the layers that depend on the number of classes afresh, and those that are missing.

    Args:
      network: of which layers of the head may be missing.
      num_classes: None, or the number that there is already: a layer that is there is kept.
      seed: of what is drawn, by the network's own initialisation, as ``model.init`` would.
    """
    model, flat = network.model, flatten_dict(network.variables)
    other = num_classes is not None and num_classes != model.num_classes
    if other:
        model = model.clone(num_classes=num_classes)
    channels, first = flat[stem_path(model)].shape[2], flat.get(("params", "fc6", "kernel"))
    shapes = variable_shapes(model, channels, rows=None if first is None else first.shape[0])
    drawn = [p for p in shapes if p not in flat or flat[p].shape != shapes[p].shape]
    if not drawn and not other:
        return network
    flat.update(_draw(model, drawn, channels, seed))
    layers = ", ".join(dict.fromkeys("/".join(path[1:-1]) for path in drawn))
    note = f"a new head of {model.num_classes} classes"
    return dataclasses.replace(
        network,
        model=model,
        variables=unflatten_dict(flat),
        class_names=None,
        notes=(*network.notes, f"{note}, drawn by seed {seed}: {layers}" if drawn else note),
    )


def with_channels(network: Pretrained, channels: int | None) -> Pretrained:
    """Makes the first convolution see images of another number of channels.

    Of one channel: a grey image is taken as three equal channels. Kernels are summed over their
    input channels, each divided by its standard deviation; mean and standard deviation become the
    averages over the channels, and what that shifts is added to the bias, or taken from the
    BatchNorm's mean. A grey image then gives what its RGB copy gave, exactly, but for what the
    convolution's padding stands for at the border, the mean grey in place of the mean colour.

    Of n: channel i takes the kernel, the mean and the standard deviation of the i-th of R, G, B,
    R, G, B, ..., and kernels are scaled by 3 / n, so that activations stay as large as they were.

    A mean image is given up for the mean of its channels.

    Args:
      network: whose variables are on the host.
      channels: None, or the number that there is already: nothing is changed.
    """
    flat, stem = flatten_dict(network.variables), stem_path(network.model)
    before = flat[stem].shape[2]
    if channels is None or channels == before:
        return network
    old = network.preprocessing or Preprocessing((0.0,) * before, (1.0,) * before)
    kernel, mean, std = flat[stem].astype(np.float64), np.array(old.mean), np.array(old.std)
    if channels == 1:
        each = kernel / std[:, None]
        kernel = each.sum(axis=2, keepdims=True) * std.mean()
        _shift(flat, stem, (each * (mean.mean() - mean)[:, None]).sum(axis=(0, 1, 2)))
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
        note = f"for grey images: the first kernel is summed over its {before} input channels"
    else:
        order = np.arange(before) if old.channel_order == "RGB" else np.arange(before)[::-1]
        order = np.resize(order, channels)
        kernel, mean, std = kernel[:, :, order] * before / channels, mean[order], std[order]
        note = (
            f"for images of {channels} channels: the {before} of the first kernel are repeated in "
            f"turn and scaled by {before}/{channels}"
        )
    flat[stem] = kernel.astype(flat[stem].dtype)
    preprocessing = dataclasses.replace(
        old,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        channel_order="RGB",
        mean_image=None,
    )
    return dataclasses.replace(
        network,
        variables=unflatten_dict(flat),
        preprocessing=network.preprocessing and preprocessing,
        notes=(*network.notes, note),
    )


def _shift(flat: dict[Path, np.ndarray], stem: Path, offset: np.ndarray) -> None:
    """Adds a constant to what the first convolution gives."""
    bias = (*stem[:-1], "bias")
    if bias in flat:
        flat[bias] = (flat[bias] + offset).astype(flat[bias].dtype)
    else:
        mean = ("batch_stats", stem[1].replace("conv", "bn"), "mean")
        flat[mean] = (flat[mean] - offset).astype(flat[mean].dtype)


def _draw(model: nn.Module, paths: list[Path], channels: int, seed: int) -> dict[Path, Any]:
    """Some of what ``model.init`` draws; compiled, so that nothing else is computed."""

    @jax.jit
    def draw(key: jax.Array) -> dict[Path, jax.Array]:
        flat = flatten_dict(model.init(key, jnp.zeros((1, 224, 224, channels))))
        return {path: flat[path] for path in paths}

    return {path: np.asarray(array) for path, array in draw(jax.random.key(seed)).items()}
