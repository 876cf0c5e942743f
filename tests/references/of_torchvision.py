"""The logits and layers of torchvision's networks, and GoogLeNet's three heads in training."""

import json

import torch
from references.torch_networks import (
    NONE,
    SIZES,
    Arrays,
    filled,
    googlenet_in_training,
    kept,
    kept_features,
    listened,
    pixels,
    shapes,
    torchvision,
)
from torch import nn

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


def auxiliary_references() -> Arrays:
    """The three logits of GoogLeNet as it trains, by the statistics of a batch of two."""
    arrays: Arrays = {}
    for size, (_, height, width) in SIZES.items():
        x = pixels(2, height, width)
        exact = filled(googlenet_in_training).train()(x)
        single = filled(googlenet_in_training).float().train()(x.float())
        for field, head in (("logits", "logits"), ("aux_logits1", "4a"), ("aux_logits2", "4d")):
            values = [getattr(output, field).numpy() for output in (exact, single)]
            arrays |= kept(f"googlenet_in_training/{size}/{head}", *values)
    return arrays
