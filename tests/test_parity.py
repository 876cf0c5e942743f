"""Our networks compute what torchvision's and Keras' do, to the rounding.

Against the outputs that `make_references.py` stored, on the same seeded weights and images.
"""

import functools
import json
import re
import zlib

import jax
import numpy as np
import pytest
from reference_networks import (
    CLASSES,
    KERAS_VGG_SIZES,
    SIZES,
    excess,
    from_entries,
    library,
    network,
    paper_alexnet,
    paper_alexnet_entries,
    references,
    run,
    tensors,
    variables,
)
from reference_weights import images, probe

from jaxcnn import models

ALWAYS = ("alexnet", "googlenet", "resnet18", "resnet50", "vgg11_bn", "ResNet50")
FULL = (
    *("resnet34", "resnet101", "resnet152"),
    *("vgg11", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("VGG16", "VGG19", "ResNet101", "ResNet152"),
)

# Ours by their layers: the first pattern that matches says how.
BLOCK = {"": "", ".downsample.0": "/shortcut", ".downsample.1": "/bn_shortcut"}
BRANCH = {"2.0": "relu3x3_reduce", "2.1": "relu3x3", "3.0": "relu5x5_reduce", "3.1": "relu5x5"}
BRANCH |= {"4.0": "pool", "4.1": "relu_pool_proj"}
LAYERS = {
    "googlenet": (
        (r"conv(\d)", lambda m: ("relu1", "relu2_reduce", "relu2")[int(m[1]) - 1]),
        (r"maxpool(\d)", r"pool\1"),
        (r"inception(..)", r"inception_\1"),
        (r"inception(..)\.branch(.*)", lambda m: f"inception_{m[1]}/{BRANCH[m[2]]}"),
        (r"fc", "logits"),
    ),
    "resnet50": (
        (r"bn1", "bn1"),
        (r"maxpool", "pool1"),
        (
            r"layer(\d)\.(\d)(.*)",
            lambda m: f"stage{m[1]}/block{int(m[2]) + 1}{BLOCK.get(m[3], m[3].replace('.', '/'))}",
        ),
        (r"fc", "logits"),
    ),
    "VGG16": (
        (r"block(\d)_conv(\d)", r"relu\1_\2"),
        (r"block(\d)_pool", r"pool\1"),
        (r"fc(\d)", lambda m: f"relu{int(m[1]) + 5}"),
        (r"predictions", "logits"),
    ),
    "ResNet50": (
        (r"conv1_relu", "relu1"),
        (r"pool1_pool", "pool1"),
        (r"conv(\d)_block(\d)_out", lambda m: f"stage{int(m[1]) - 1}/block{m[2]}"),
        (r"conv(\d)_block1_0_bn", lambda m: f"stage{int(m[1]) - 1}/block1/bn_shortcut"),
        (r"conv(\d)_block1_(\d)_(.*)", lambda m: f"stage{int(m[1]) - 1}/block1/{m[3]}{m[2]}"),
        (r"predictions", "logits"),
    ),
}


def our_layers(name, theirs):
    """Our names of their layers; where there is no rule, theirs follow one another as ours do."""
    if name not in LAYERS:
        ours = (n for n in models.feature_names(network(name)) if not n.startswith("dropout"))
        return dict(zip(ours, theirs, strict=True))
    ours = {}
    for layer in theirs:
        pattern, ours_of_it = next(rule for rule in LAYERS[name] if re.fullmatch(rule[0], layer))
        ours[re.sub(f"^{pattern}$", ours_of_it, layer)] = layer
    return ours


def test_the_seeded_numbers_are_those_that_the_references_were_made_with():
    """Numpy keeps the stream, and if it did not, this would say so and not the networks."""
    assert zlib.crc32(images(2, 97, 130).astype("<f4").tobytes()) == 4240289763


# In float64 an error of the arithmetic shows best; in float32 what is cast shows, in any network.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float64") for name in ALWAYS),
        ("resnet18", "float32"),
        *(pytest.param(n, "float32", marks=pytest.mark.full) for n in ALWAYS if n != "resnet18"),
        *(pytest.param(n, d, marks=pytest.mark.full) for n in FULL for d in ("float64", "float32")),
    ],
)
def test_logits_and_layers_agree(name, dtype):
    stored = references(library(name))
    sizes = KERAS_VGG_SIZES if name.startswith("VGG") else SIZES
    theirs = json.loads(stored.get(f"{name}/features/names", "[]"))
    layers = our_layers(name, theirs) if theirs else {}
    with jax.enable_x64(dtype == "float64"):
        model, weights = network(name, dtype=dtype), variables(name, dtype)
        found = {}
        for size, shape in sizes.items():
            names = ("logits", *layers) if size == "other" else ("logits",)
            features = functools.partial(models.features, model, names=names)
            found[size] = run(features, weights, images(*shape).astype(dtype))
    for size, ours in found.items():
        place = f"{name}/{size}"
        rounding = stored[f"{place}/float32"]
        assert ours["logits"].shape == (sizes[size][0], 1000)
        logits = ours["logits"][:, CLASSES]
        assert excess(logits, stored[f"{place}/logits"], rounding=rounding) < 1, size
    for i, (layer, their_name) in enumerate(layers.items()):
        expected = stored[f"{name}/features/probes"][i]
        ours = probe(np.asarray(found["other"][layer]))
        rounding = stored[f"{name}/features/float32"][i]
        assert theirs[i] == their_name
        assert excess(ours, expected, expected[1], rounding) < 1, layer


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        ("other", "float64"),
        pytest.param("other", "float32", marks=pytest.mark.full),
        pytest.param("224", "float64", marks=pytest.mark.full),
        pytest.param("224", "float32", marks=pytest.mark.full),
    ],
)
def test_the_three_heads_of_googlenet_agree_in_training(size, dtype):
    stored, shape = references("torchvision"), (2, *SIZES[size][1:])
    with jax.enable_x64(dtype == "float64"):
        model = network("googlenet", dropout=0.0, auxiliary_dropout=0.0, dtype=dtype)
        logits, updated = run(
            lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats", "aux_logits"]),
            variables("googlenet", dtype),
            images(*shape).astype(dtype),
        )
    heads = {"logits": logits, **updated["aux_logits"]}
    assert set(heads) == {"logits", "4a", "4d"}
    for head, ours in heads.items():
        place = f"googlenet_in_training/{size}/{head}"
        rounding = stored[f"{place}/float32"]
        assert excess(ours[:, CLASSES], stored[f"{place}/logits"], rounding=rounding) < 1, head


def test_the_papers_alexnet_agrees_in_its_groups_and_normalisation():
    with jax.enable_x64(True):
        model = paper_alexnet()
        weights = from_entries(model, paper_alexnet_entries(), tensors("training", "alexnet_paper"))
        logits = run(model.apply, weights, images(*SIZES["other"]).astype(np.float64))
    assert excess(logits, references("training")["alexnet_paper/other/logits"]) < 1
