"""torchvision's networks in PyTorch: eager, in channels-last layout, and by torch.compile."""

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision

from experiments.contestants import Contestant, Task
from jaxcnn.errors import unknown_name
from jaxcnn.randomness import Purpose, host_generator

# Our name of the network of the same layers, where it is another.
_NAMES = {
    "alexnet_owt": "alexnet",
    "googlenet_bn": "googlenet",
    "resnet50_v1_5": "resnet50",
    "resnet101_v1_5": "resnet101",
    "resnet152_v1_5": "resnet152",
} | {
    name: name
    for name in (
        *("resnet18", "resnet34", "vgg11", "vgg13", "vgg16", "vgg19"),
        *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    )
}


def prepare(task: Task, *, channels_last: bool, compiled: bool = False) -> Contestant:
    """Makes the network and its step.

    Raises:
      UserError: torchvision has no network of the same layers.
    """
    if task.model not in _NAMES:
        raise unknown_name("torchvision network of the layers of", task.model, _NAMES)
    name = _NAMES[task.model]
    fields: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = getattr(torchvision.models, name)(
        weights=None, num_classes=task.num_classes, **fields
    ).to(device, memory_format=layout)
    random = host_generator(0, Purpose.BENCHMARK, 0)
    shape = (task.batch_size, 3, task.image_size, task.image_size)
    images = torch.from_numpy(random.normal(size=shape).astype(np.float32))
    images = images.to(device, memory_format=layout)
    labels = torch.from_numpy(random.integers(0, task.num_classes, task.batch_size)).to(device)
    network.train(task.mode == "train")
    run = torch.compile(network) if compiled else network
    if task.mode == "train":
        advance = _training(network, run, images, labels, task)
    else:
        advance = _inference(run, images, task)
    return Contestant(
        advance=advance,
        wait=torch.cuda.synchronize if device.type == "cuda" else lambda: None,
        versions={"torch": torch.__version__, "torchvision": torchvision.__version__},
        peak_memory=_peak_memory,
    )


def _autocast(images: torch.Tensor, task: Task) -> Any:
    """The types of the computation: as they are in float32, else what PyTorch thinks safe."""
    dtype = getattr(torch, task.dtype)
    return torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32)


def _training(
    network: torch.nn.Module,
    run: Callable[..., Any],
    images: torch.Tensor,
    labels: torch.Tensor,
    task: Task,
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)

    def advance() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(images, task):
            outputs = run(images)
            # GoogLeNet gives its auxiliary classifiers' logits too, last.
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            for each in auxiliary:
                loss = loss + 0.3 * torch.nn.functional.cross_entropy(each, labels)
        loss.backward()
        optimizer.step()

    return advance


def _inference(run: Callable[..., Any], images: torch.Tensor, task: Task) -> Callable[[], None]:
    def advance() -> None:
        with torch.inference_mode(), _autocast(images, task):
            run(images)

    return advance


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
