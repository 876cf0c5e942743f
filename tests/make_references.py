"""Makes tests/references: what PyTorch, torchvision and Keras compute, for our tests to compare.

    python3.11 -m venv torch-environment
    torch-environment/bin/pip install torch==2.13.0 keras==3.15.1 scikit-learn==1.9.1
    torch-environment/bin/pip install --no-deps torchvision==0.28.0 pillow==13.0.0
    torch-environment/bin/python tests/make_references.py

(torch's build for CPU, ``--index-url https://download.pytorch.org/whl/cpu``, is enough.) It takes
NOT MEASURED minutes on 2 cores and 8 GB of memory. Names of files to make may follow: layers,
training, torchvision, keras. Each says in ``versions`` what made it. Weights and images are in
none of them: `reference_weights` makes them anew on either side.
"""

import json
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from reference_weights import images, probe, projection, uniform, weights
from torch import nn
from torch.nn import functional

# torchvision's compiled operators are for another build; without its detection operators it does
# not even import. They are declared here and never called.
OPERATORS = torch.library.Library("torchvision", "DEF")
OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402
from keras.src.backend.common import dtypes  # noqa: E402

# Except on TensorFlow, Keras' matrix products and normalisations turn float64 into float32.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

FOLDER = Path(__file__).parent / "references"
# Two images of another size: odd, even, not square, and not a multiple of 32.
SIZES = {"224": (1, 224, 224), "other": (2, 97, 130)}
# Keras' VGG has no adaptive pooling; of these the pools leave 7 x 7, too.
KERAS_VGG_SIZES = {"224": (1, 224, 224), "other": (1, 231, 249)}
CLASSES = slice(None, None, 3)  # of the 1000, those whose logits are kept

TORCHVISION = (
    *("alexnet", "googlenet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
)
# Whose outputs are kept on the way, at the other size.
MODULES = {
    "alexnet": r"features\.\d+|classifier\.[12456]",
    "vgg11_bn": r"features\.\d+|classifier\.[01346]",
    "googlenet": r"conv\d|maxpool\d|inception..|inception(3a|4d)\.branch\d\.\d|fc",
    "resnet50": r"bn1|maxpool|layer\d\.\d|layer[12]\.0\.(conv\d|bn\d|downsample\.\d)|fc",
}
KERAS_MODULES = {
    "VGG16": r"block\d_conv\d|block\d_pool|fc\d",
    "ResNet50": r"conv1_relu|pool1_pool|conv\d_block\d_out|conv[23]_block1_[0-3]_(bn|relu)",
}
CONVOLUTIONS = ((1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (7, 2, 3), (11, 4, 2))
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


def torchvision_references() -> Arrays:
    arrays: Arrays = {}
    for name in TORCHVISION:
        fields = {} if name.startswith(("alexnet", "resnet")) else {"init_weights": False}

        def make(name: str = name, fields: Arrays = fields) -> nn.Module:
            return getattr(torchvision.models, name)(**fields)

        model = filled(make).eval()
        arrays[f"{name}/shapes"] = json.dumps(shapes(model))
        heard = listened(model, MODULES.get(name, NONE))
        exact = {size: model(pixels(*shape)).numpy() for size, shape in SIZES.items()}
        features = dict(heard)
        model.float()
        for size, shape in SIZES.items():
            single = model(pixels(*shape, dtype=torch.float32)).numpy()
            arrays |= kept(f"{name}/{size}", exact[size], single)
        if heard:
            arrays |= kept_features(name, features, heard)
    return arrays | auxiliary_references()


def googlenet_in_training(num_classes: int = 1000) -> nn.Module:
    fields = {"init_weights": False, "dropout": 0.0, "dropout_aux": 0.0}
    return torchvision.models.googlenet(num_classes=num_classes, **fields)


def auxiliary_references() -> Arrays:
    """The three logits of GoogLeNet as it trains, by the statistics of a batch of two."""
    arrays: Arrays = {}
    for size, (_, height, width) in SIZES.items():
        model = filled(googlenet_in_training).train()
        exact = model(pixels(2, height, width))
        single = (
            filled(googlenet_in_training)
            .float()
            .train()(pixels(2, height, width, dtype=torch.float32))
        )
        for field, head in (("logits", "logits"), ("aux_logits1", "4a"), ("aux_logits2", "4d")):
            values = [getattr(output, field).numpy() for output in (exact, single)]
            arrays |= kept(f"googlenet_in_training/{size}/{head}", *values)
    return arrays


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


def layers_references() -> Arrays:
    """Layers on maps of odd and even sizes, their parameters in the name of what they gave."""
    arrays: Arrays = {}
    for height, width in ((6, 7), (7, 6), (8, 8), (9, 11), (15, 16)):
        maps = uniform(f"maps {height} {width}", (2, height, width, 3)).astype(np.float64)
        x = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())
        outputs = {}
        for window, stride, padding in ((2, 2, 0), (2, 2, 1), (3, 2, 0), (3, 2, 1), (3, 1, 1)):
            for ceil in (False, True):
                outputs[f"max_pool/{window}/{stride}/{padding}/{ceil:d}"] = functional.max_pool2d(
                    x, window, stride, padding, ceil_mode=ceil
                )
        for window, stride in ((2, 2), (3, 2), (5, 3), (5, 1)):
            outputs[f"average_pool/{window}/{stride}"] = functional.avg_pool2d(x, window, stride)
        for size in (1, 4, 6, 7):
            outputs[f"adaptive_average_pool/{size}"] = functional.adaptive_avg_pool2d(x, size)
        for size, stride, padding in CONVOLUTIONS:
            kernel = uniform(f"kernel {size}", (size, size, 3, 4)).transpose(3, 2, 0, 1)
            if min(height, width) + 2 * padding >= size:
                outputs[f"convolution/{size}/{stride}/{padding}"] = functional.conv2d(
                    x, torch.from_numpy(kernel.copy()).double(), None, stride, padding
                )
        arrays |= {f"{height}x{width}/{name}": channels_last(y) for name, y in outputs.items()}
    for channels in (1, 3, 8):
        maps = 10 * uniform(f"maps of {channels} channels", (2, 3, 4, channels)).astype(np.float64)
        x = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())
        for n, alpha, beta, k in ((5, 5e-4, 0.75, 2.0), (4, 1e-2, 0.5, 1.0), (3, 1.0, 0.75, 1.0)):
            arrays[f"local_response_norm/{channels}/{n}/{alpha}/{beta}/{k}"] = channels_last(
                functional.local_response_norm(x, n, alpha, beta, k)
            )
    return arrays


def main(names: list[str]) -> None:
    torch.set_grad_enabled(False)
    versions = {module.__name__: module.__version__ for module in (torch, torchvision, keras, np)}
    make = {
        "layers": layers_references,
        "training": training_references,
        "torchvision": torchvision_references,
        "keras": keras_references,
    }
    FOLDER.mkdir(exist_ok=True)
    for name in names or make:
        np.savez_compressed(FOLDER / f"{name}.npz", versions=json.dumps(versions), **make[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
