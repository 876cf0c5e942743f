"""The names and layouts of torchvision (0.28) and of timm (1.0), for the networks that they have.

Their modules are ``nn.Sequential``s whose keys are positions, so that what stands between two
convolutions counts: all follows from the fields of the network.
"""

from collections.abc import Iterator, Sequence

from flax import linen as nn

from jaxcnn.models import VGG, AlexNet, GoogLeNet, ResNet
from jaxcnn.models.alexnet import POOLED
from jaxcnn.models.googlenet import MODULES
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.naming import Entry, Naming, Path, TorchKernel

VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
RESNETS = ("resnet18", "resnet34", "resnet50_v1_5", "resnet101_v1_5", "resnet152_v1_5")


def torchvision_entries(model: AlexNet | VGG | GoogLeNet | ResNet) -> Iterator[Entry]:
    """Every array of a network, from the first layer to the last, in torchvision's names."""
    if isinstance(model, GoogLeNet):
        yield from _googlenet(model)
    elif isinstance(model, ResNet):
        yield from _resnet(model)
    else:
        yield from _features(model)
        # Before every layer but the first stand the one before it, its ReLU and its dropout.
        before = 1 if isinstance(model, AlexNet) else 0
        hidden = [f"classifier.{3 * i + before}" for i in range(len(model.hidden))]
        yield from _head(model, hidden, f"classifier.{3 * len(hidden)}", matrix=True)


def timm_entries(model: VGG | ResNet) -> Iterator[Entry]:
    """The same in timm's names, which in a ResNet are torchvision's."""
    if isinstance(model, ResNet):
        yield from _resnet(model)
    else:
        yield from _features(model)
        hidden = [f"pre_logits.fc{i}" for i in range(1, len(model.hidden) + 1)]
        yield from _head(model, hidden, "head.fc", matrix=False)


def _preprocessing(model: nn.Module) -> Preprocessing:
    """RGB, the shorter side 256, the central 224 x 224, normalised by ImageNet's statistics."""
    if isinstance(model, GoogLeNet):
        # Its weights are TensorFlow's, for images in [-1, 1]. torchvision normalises as for its
        # other networks, and undoes it in the network (`transform_input`), which together is this.
        mean = std = (127.5,) * 3
    else:
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return Preprocessing(mean, std, shorter_side=256, crop=224)


TORCHVISION = Naming(
    "torchvision",
    {name: {} for name in ("alexnet_owt", *VGGS, "googlenet_bn", *RESNETS)},
    torchvision_entries,
    _preprocessing,
)
TIMM = Naming("timm", {name: {} for name in (*VGGS, *RESNETS)}, timm_entries, _preprocessing)


def _features(model: AlexNet | VGG) -> Iterator[Entry]:
    """The convolutions of AlexNet and VGG, at their positions among all layers."""
    if isinstance(model, AlexNet):
        layers = [(f"{i}", i in POOLED) for i in range(1, 6)]
    else:
        layers = [
            (f"{i}_{j}", j == len(kernels))
            for i, (_, kernels) in enumerate(model.groups, 1)
            for j in range(1, len(kernels) + 1)
        ]
    position = 0
    for name, pooled in layers:
        yield from _convolution((f"conv{name}",), f"features.{position}", bias=True)
        if model.norm is not None:
            position += 1
            yield from _norm((f"bn{name}",), f"features.{position}")
        position += 3 if pooled else 2


def _head(
    model: AlexNet | VGG, hidden: Sequence[str], last: str, *, matrix: bool
) -> Iterator[Entry]:
    """The fully connected layers, the hidden ones matrices or convolutions."""
    window, first = (
        model.pooled_size or 1,
        6 if isinstance(model, AlexNet) else len(model.groups) + 1,
    )
    for number, key in enumerate(hidden, first):
        yield from _linear((f"fc{number}",), key, window, matrix)
        window = 1
    yield from _linear(("logits",), last, window)


def _resnet(model: ResNet) -> Iterator[Entry]:
    yield from _convolution(("conv1",), "conv1")
    yield from _norm(("bn1",), "bn1")
    for i, blocks in enumerate(model.blocks, 1):
        for j in range(1, blocks + 1):
            path, key = (f"stage{i}", f"block{j}"), f"layer{i}.{j - 1}"
            for k in range(1, 4 if model.bottleneck else 3):
                yield from _convolution((*path, f"conv{k}"), f"{key}.conv{k}")
                yield from _norm((*path, f"bn{k}"), f"{key}.bn{k}")
            if j == 1 and (i > 1 or model.bottleneck):
                yield from _convolution((*path, "shortcut"), f"{key}.downsample.0")
                yield from _norm((*path, "bn_shortcut"), f"{key}.downsample.1")
    yield from _linear(("logits",), "fc")


def _googlenet(model: GoogLeNet) -> Iterator[Entry]:
    def unit(path: Path, name: str, key: str) -> Iterator[Entry]:
        yield from _convolution((*path, f"conv{name}"), f"{key}.conv")
        yield from _norm((*path, f"bn{name}"), f"{key}.bn")

    for i, name in enumerate(("1", "2_reduce", "2"), 1):
        yield from unit((), name, f"conv{i}")
    branches = (
        ("1x1", "branch1"),
        ("3x3_reduce", "branch2.0"),
        ("3x3", "branch2.1"),
        ("5x5_reduce", "branch3.0"),
        ("5x5", "branch3.1"),
        ("_pool_proj", "branch4.1"),
    )
    for number in MODULES:
        for name, branch in branches:
            yield from unit((f"inception_{number}",), name, f"inception{number}.{branch}")
    for i, number in enumerate(("4a", "4d"), 1):
        if model.auxiliary:
            yield from unit((f"aux_{number}",), "1x1", f"aux{i}.conv")
            yield from _linear((f"aux_{number}", "fc1"), f"aux{i}.fc1", window=4)
            yield from _linear((f"aux_{number}", "logits"), f"aux{i}.fc2")
    yield from _linear(("logits",), "fc")


def _convolution(path: Path, key: str, bias: bool = False) -> Iterator[Entry]:
    yield Entry(("params", *path, "kernel"), f"{key}.weight", TorchKernel())
    if bias:
        yield Entry(("params", *path, "bias"), f"{key}.bias")


def _norm(path: Path, key: str) -> Iterator[Entry]:
    yield Entry(("params", *path, "scale"), f"{key}.weight")
    yield Entry(("params", *path, "bias"), f"{key}.bias")
    yield Entry(("batch_stats", *path, "mean"), f"{key}.running_mean")
    yield Entry(("batch_stats", *path, "var"), f"{key}.running_var")


def _linear(path: Path, key: str, window: int = 1, matrix: bool = True) -> Iterator[Entry]:
    yield Entry(("params", *path, "kernel"), f"{key}.weight", TorchKernel(window, matrix))
    yield Entry(("params", *path, "bias"), f"{key}.bias")
