"""Fifty steps of a small network by every form of an update, in PyTorch, Keras and by hand.

The rate is divided by ten after step 25, where the two momenta part.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from reference_weights import uniform
from references.of_training import brief
from references.torch_networks import Arrays, filled, shapes
from torch import nn
from torch.nn import functional

os.environ["KERAS_BACKEND"] = "torch"
import keras

STEPS, BATCHES, BATCH, DROP = 50, 5, 16, 25
AVERAGED_FROM = 20  # Polyak's average is of the states after this step

Parameters = dict[str, nn.Parameter]
Update = Callable[[float], None]  # of the parameters, by their gradients, at a rate


class Small(nn.Module):
    """Two convolutions with BatchNorm, and two linear layers over the mean of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc3, self.logits = nn.Linear(8, 12), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 2)
        x = functional.relu(self.bn2(self.conv2(x))).mean((2, 3))
        return self.logits(functional.relu(self.fc3(x)))


def is_kernel(name: str) -> bool:
    return name.endswith("weight") and not name.startswith("bn")


def of_torch(
    optimizer: Callable[..., Any], decay: float = 0.0, decays: Any = is_kernel, **options: Any
) -> Callable[[Parameters], Update]:
    """One of PyTorch's optimizers, with weight decay on the parameters that ``decays`` names."""

    def make(parameters: Parameters) -> Update:
        groups = [
            {
                "params": [p for name, p in parameters.items() if decays(name)],
                "weight_decay": decay,
            },
            {"params": [p for n, p in parameters.items() if not decays(n)], "weight_decay": 0.0},
        ]
        made = optimizer([g for g in groups if g["params"]], lr=1.0, **options)

        def update(rate: float) -> None:
            for group in made.param_groups:
                group["lr"] = rate
            made.step()

        return update

    return make


def of_keras(parameters: Parameters) -> Update:
    """Keras' Adam, whose epsilon is 1e-7, with its L2(1e-4) on the kernel of conv2 alone.

    The gradient of 1e-4 times the sum of squares is 2e-4 times the weights.
    """
    variables = {n: keras.Variable(p.numpy(), dtype="float64") for n, p in parameters.items()}
    made = keras.optimizers.Adam()
    made.build(list(variables.values()))

    def update(rate: float) -> None:
        made.learning_rate = rate
        for name, parameter in parameters.items():
            if name == "conv2.weight":
                parameter.grad += 2e-4 * parameter
        made.apply([p.grad for p in parameters.values()], list(variables.values()))
        for name, parameter in parameters.items():
            parameter.copy_(variables[name].value)

    return update


def of_papers(limit: float | None = None) -> Callable[[Parameters], Update]:
    """v = 0.9 v - 0.0005 rate w - rate g; w = w + v (Krizhevsky et al. 2012, section 5).

    Args:
      limit: the root mean square that no filter of a convolution may exceed after an update (Zeiler
        and Fergus 2013, section 3).
    """

    def make(parameters: Parameters) -> Update:
        velocities = {name: torch.zeros_like(p) for name, p in parameters.items()}

        def update(rate: float) -> None:
            for name, parameter in parameters.items():
                decay = 0.0005 if is_kernel(name) else 0.0
                step = -decay * rate * parameter - rate * parameter.grad
                velocities[name] = 0.9 * velocities[name] + step
                parameter += velocities[name]
                if limit is not None and parameter.ndim == 4:
                    for one in parameter:  # a filter: (inputs, height, width)
                        size = one.square().mean().sqrt()
                        if size > limit:
                            one *= limit / size

        return update

    return make


def maximum_a_posteriori(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """LeCun et al. 1998, equation 9, of distances y = -scores, with j = 0.1."""
    distances = -scores
    right = distances[torch.arange(len(labels)), labels]
    return (right + torch.log(np.exp(-0.1) + torch.exp(-distances).sum(1))).mean()


@dataclasses.dataclass(frozen=True)
class Form:
    """How to train: an optimizer, its first rate, and a loss."""

    optimizer: Callable[[Parameters], Update]
    rate: float = 0.05
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.cross_entropy


SGD, EVERYTHING = torch.optim.SGD, lambda name: True
FORMS = {
    "momentum": Form(of_torch(SGD, 5e-3, momentum=0.9)),
    "momentum_all": Form(of_torch(SGD, 5e-3, EVERYTHING, momentum=0.9)),
    "momentum_layers": Form(
        of_torch(SGD, 5e-2, lambda name: name in ("conv2.weight", "fc3.weight"), momentum=0.9)
    ),
    "paper_momentum": Form(of_papers()),
    "filter_rms": Form(of_papers(limit=0.1)),
    "adam": Form(of_torch(torch.optim.Adam), rate=0.005),
    "adam_l2": Form(of_torch(torch.optim.Adam, 1e-2), rate=0.005),
    "adam_keras": Form(of_keras, rate=0.005),
    "adamw": Form(of_torch(torch.optim.AdamW, 0.5), rate=0.005),
    "map": Form(of_torch(SGD, momentum=0.9), loss=maximum_a_posteriori),
    "smoothed": Form(
        of_torch(SGD, momentum=0.9),
        loss=lambda x, labels: functional.cross_entropy(x, labels, label_smoothing=0.1),
    ),
}


def optimizers_references() -> Arrays:
    """The losses of fifty steps by every form, and the parameters after them."""
    images = torch.from_numpy(uniform("fifty steps", (BATCHES * BATCH, 3, 8, 8))).double()
    labels = torch.arange(BATCHES * BATCH) * 7 % 10
    arrays: Arrays = {"Small/shapes": json.dumps(shapes(filled(Small)))}
    for name, form in FORMS.items():
        model = filled(Small).train()
        parameters = dict(model.named_parameters())
        update = form.optimizer(parameters)
        losses, average = [], {key: torch.zeros_like(p) for key, p in parameters.items()}
        for step in range(STEPS):
            rows = slice(step % BATCHES * BATCH, (step % BATCHES + 1) * BATCH)
            with torch.enable_grad():
                loss = form.loss(model(images[rows]), labels[rows])
                model.zero_grad()
                loss.backward()
            update(form.rate if step < DROP else form.rate / 10)
            losses.append(loss.item())
            if step >= AVERAGED_FROM:
                for key, parameter in parameters.items():
                    average[key] += parameter / (STEPS - AVERAGED_FROM)
        print(f"{name:16} {losses[0]:.4f} {losses[DROP]:.4f} {losses[-1]:.4f}")
        arrays |= {
            f"{name}/losses": np.array(losses),
            **brief(f"{name}/parameters", {k: p.detach().numpy() for k, p in parameters.items()}),
            **brief(f"{name}/average", {k: p.numpy() for k, p in average.items()}),
        }
    return arrays
