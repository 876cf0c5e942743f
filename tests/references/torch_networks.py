"""PyTorch's networks with the references' weights, and what is kept of their outputs."""

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from reference_weights import images, probe, weights
from torch import nn

# torchvision's compiled operators are for another build; without its detection operators it does
# not even import. They are declared here and never called.
OPERATORS = torch.library.Library("torchvision", "DEF")
OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402

# Two images of another size: odd, even, not square, and not a multiple of 32.
SIZES = {"224": (1, 224, 224), "other": (2, 97, 130)}
CLASSES = slice(None, None, 3)  # of the 1000, those whose logits are kept
NONE = r"(?!)"  # matches no name
Arrays = dict[str, Any]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def filled(make: Callable[[], nn.Module]) -> nn.Module:
    """A network in float64 with the reference's weights."""
    with torch.device("meta"):
        model = make()
    model.to_empty(device="cpu")
    tensors = {name: torch.from_numpy(array) for name, array in weights(shapes(model)).items()}
    assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    return model.double()


def pixels(count: int, height: int, width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    array = images(count, height, width).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def channels_last(x: torch.Tensor) -> np.ndarray:
    x = x.detach()
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()


def listened(model: nn.Module, pattern: str) -> OrderedDict[str, np.ndarray]:
    """A dict that each call of the model fills with its modules' outputs, in their order."""
    heard: OrderedDict[str, np.ndarray] = OrderedDict()

    def listen(name: str) -> Callable[..., None]:
        # A copy: the ReLU that follows may write into the same memory.
        return lambda module, inputs, output: heard.update({name: channels_last(output).copy()})

    for name, module in model.named_modules():
        if re.fullmatch(pattern, name):
            module.register_forward_hook(listen(name))
    return heard


def rounding(exact: np.ndarray, single: np.ndarray) -> float:
    """The root mean square error of float32, in standard deviations of the float64 values."""
    return float(np.sqrt(np.square(exact - single).mean()) / exact.std())


def kept(place: str, exact: np.ndarray, single: np.ndarray) -> Arrays:
    print(f"{place:34} deviation {exact.std():8.3g}  float32 {rounding(exact, single):.2g}")
    return {f"{place}/logits": exact[:, CLASSES], f"{place}/float32": rounding(exact, single)}


def kept_features(name: str, exact: dict[str, np.ndarray], single: dict[str, np.ndarray]) -> Arrays:
    return {
        f"{name}/features/names": json.dumps(list(exact)),
        f"{name}/features/probes": np.stack([probe(x) for x in exact.values()]),
        f"{name}/features/float32": np.array([rounding(exact[k], single[k]) for k in exact]),
    }


def googlenet_in_training(num_classes: int = 1000) -> nn.Module:
    fields = {"init_weights": False, "dropout": 0.0, "dropout_aux": 0.0}
    return torchvision.models.googlenet(num_classes=num_classes, **fields)
