"""One training step of a network of every family in PyTorch, and fifty steps on digits."""

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from reference_weights import projection
from references.torch_networks import (
    SIZES,
    Arrays,
    filled,
    googlenet_in_training,
    pixels,
    shapes,
    torchvision,
)
from torch import nn
from torch.nn import functional


def narrow(model: nn.Module, inputs: int) -> nn.Module:
    """The same network with hidden layers of 48 and 32, and ten classes."""
    linear = [i for i, layer in enumerate(model.classifier) if isinstance(layer, nn.Linear)]
    for i, widths in zip(linear, ((inputs, 48), (48, 32), (32, 10)), strict=True):
        model.classifier[i] = nn.Linear(*widths)
    return model


def narrow_vgg() -> nn.Module:
    layers = torchvision.models.vgg.make_layers(
        [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"], batch_norm=True
    )
    return narrow(torchvision.models.VGG(layers, init_weights=False, dropout=0.0), 64 * 49)


def paper_alexnet() -> nn.Module:
    """A quarter of the paper's network: groups, and its local response normalisation."""
    # PyTorch divides alpha by n.
    norm = {"size": 5, "alpha": 5 * 1e-4, "beta": 0.75, "k": 2.0}
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 24, 11, stride=4, padding=2),
            relu1=nn.ReLU(),
            norm1=nn.LocalResponseNorm(**norm),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(24, 64, 5, padding=2, groups=2),
            relu2=nn.ReLU(),
            norm2=nn.LocalResponseNorm(**norm),
            pool2=nn.MaxPool2d(3, 2),
            conv3=nn.Conv2d(64, 96, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(96, 96, 3, padding=1, groups=2),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(96, 64, 3, padding=1, groups=2),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(3, 2),
            average=nn.AdaptiveAvgPool2d(6),
            flatten=nn.Flatten(),
            fc6=nn.Linear(64 * 36, 48),
            relu6=nn.ReLU(),
            fc7=nn.Linear(48, 32),
            relu7=nn.ReLU(),
            logits=nn.Linear(32, 10),
        )
    )


IN_TRAINING: dict[str, Callable[[], nn.Module]] = {
    "alexnet": lambda: narrow(torchvision.models.alexnet(dropout=0.0), 256 * 36),
    "alexnet_paper": paper_alexnet,
    "vgg": narrow_vgg,
    "googlenet": lambda: googlenet_in_training(10),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "resnet50": lambda: torchvision.models.resnet50(num_classes=10),
}


def cross_entropy(output: Any, labels: torch.Tensor) -> torch.Tensor:
    """The loss; auxiliary classifiers weigh 0.3 (Szegedy et al. 2014, section 5)."""
    if isinstance(output, torch.Tensor):
        return functional.cross_entropy(output, labels)
    heads = (functional.cross_entropy(logits, labels) for logits in output)
    return sum(w * loss for w, loss in zip((1.0, 0.3, 0.3), heads, strict=True))


def training_references() -> Arrays:
    """One step's loss, gradients and statistics for every family, and fifty steps on digits."""
    arrays: Arrays = {}
    labels = torch.tensor([3, 1, 4, 1])
    for name, make in IN_TRAINING.items():
        model = filled(make).train()
        if name == "alexnet_paper":
            arrays[f"{name}/other/logits"] = model(pixels(*SIZES["other"])).numpy()
        counts = counted(model)
        with torch.enable_grad():
            loss = cross_entropy(model(pixels(4, 64, 75)), labels)
            loss.backward()
        print(f"{name:32} loss {loss.item():.6f}")
        gradients = {key: p.grad.numpy() for key, p in model.named_parameters()}
        statistics = {key: b.numpy() for key, b in model.named_buffers() if ".running" in key}
        arrays |= {
            f"{name}/shapes": json.dumps(shapes(model)),
            f"{name}/counts": json.dumps(counts),
            f"{name}/loss": loss.item(),
            **brief(f"{name}/gradients", gradients),
            **brief(f"{name}/statistics", statistics),
        }
    return arrays | {"digits/losses": np.array(digits_losses())}


def counted(model: nn.Module) -> dict[str, int]:
    """A dict that a call fills with how many values of a channel each BatchNorm sees."""
    counts: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        return lambda module, inputs, _: counts.update(
            {name: inputs[0].numel() // inputs[0].shape[1]}
        )

    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count(name))
    return counts


def brief(place: str, tensors: dict[str, np.ndarray]) -> Arrays:
    summary = [(np.linalg.norm(x), projection(key, x)) for key, x in tensors.items()]
    return {f"{place}/names": json.dumps(list(tensors)), f"{place}/norms": np.array(summary)}


def digits_losses() -> list[float]:
    """Of the narrow VGG, on digits repeated to 32 x 32 and three channels."""
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(levels.reshape(-1, 1, 8, 8) / 8 - 1)
    pictures = small.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)
    model = filled(narrow_vgg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(50):
        rows = slice(32 * step, 32 * (step + 1))
        with torch.enable_grad():
            loss = functional.cross_entropy(model(pictures[rows]), torch.from_numpy(labels[rows]))
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("digits", " ".join(f"{loss:.3f}" for loss in losses))
    return losses
