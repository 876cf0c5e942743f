"""The comparison with the references finds the mistakes that shapes do not show.

Each is planted in our side of a comparison that `test_parity.py` makes without it.
"""

import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from reference_networks import (
    CLASSES,
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
from reference_weights import images

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models.layers import BatchNorm, LocalResponseNorm
from jaxcnn.pretrained.mapping import tensors_to_variables

# A fault that a comparison in float32 would find as well exceeds what is allowed in float64 by
# ten thousand: 1e-5 of the logits' deviation.
FOUND = 1e4


def logits_excess(name, model=None, change=lambda weights: weights, size="other"):
    """That of a network's logits, the network or its variables changed."""
    with jax.enable_x64(True):
        model = network(name) if model is None else model
        pixels = images(*SIZES[size]).astype(np.float64)
        weights = change(variables(name))
        logits = run(model.clone(dtype=np.float64).apply, weights, pixels)
    return excess(logits[:, CLASSES], references(library(name))[f"{name}/{size}/logits"])


def test_rows_of_fc6_in_the_order_channel_height_width():
    def flattened_as_in_pytorch(weights):
        rows = weights["params"]["fc6"]["kernel"]
        wrong = rows.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3).reshape(rows.shape)
        params = {**weights["params"], "fc6": {**weights["params"]["fc6"], "kernel": wrong}}
        return {**weights, "params": params}

    assert logits_excess("alexnet", change=flattened_as_in_pytorch) > FOUND


def test_same_padding_of_convolutions_of_stride_2(monkeypatch):
    class Same(nn.Conv):
        def __post_init__(self):
            if self.strides == 2:
                self.padding = "SAME"
            super().__post_init__()

    monkeypatch.setattr(nn, "Conv", Same)
    assert logits_excess("resnet18") > FOUND


def test_same_padding_of_a_pool_of_stride_2(monkeypatch):
    def same(*arguments, name, **fields):
        return lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME")

    monkeypatch.setattr(models.resnet, "MaxPool", same)
    # Only at even sizes is there a difference: the pool's maps are 112 x 112.
    assert logits_excess("resnet18", size="224") > FOUND


@pytest.mark.parametrize(("name", "epsilon"), [("resnet18", 1e-3), ("googlenet", 1e-5)])
def test_an_epsilon_of_another_librarys_batch_norm(name, epsilon):
    norm = functools.partial(BatchNorm, epsilon=epsilon)
    assert logits_excess(name, network(name, norm=norm)) > FOUND


def test_the_stride_in_the_first_convolution_of_a_bottleneck():
    assert logits_excess("resnet50", models.create_model("resnet50")) > FOUND


def test_five_by_five_in_googlenets_third_branch(monkeypatch):
    model = network("googlenet").clone(size=5)
    with pytest.raises(UserError, match="googlenet_bn"):
        tensors_to_variables(model, tensors("torchvision", "googlenet"), "torchvision")

    class Spread(nn.Conv):
        """The same nine weights, over five by five positions."""

        def __post_init__(self):
            if self.name == "conv5x5":
                self.kernel_dilation, self.padding = 2, 2
            super().__post_init__()

    monkeypatch.setattr(nn, "Conv", Spread)
    assert logits_excess("googlenet") > FOUND


def test_a_last_pool_of_three_in_googlenet():
    assert logits_excess("googlenet", network("googlenet", last_pool=3)) > FOUND


def test_alpha_divided_by_n_in_local_response_normalisation(monkeypatch):
    divided = functools.partial(LocalResponseNorm, alpha=1e-4 / 5)
    monkeypatch.setattr(models.alexnet, "LocalResponseNorm", divided)
    with jax.enable_x64(True):
        model = paper_alexnet()
        weights = from_entries(model, paper_alexnet_entries(), tensors("training", "alexnet_paper"))
        logits = run(model.apply, weights, images(*SIZES["other"]).astype(np.float64))
    assert excess(logits, references("training")["alexnet_paper/other/logits"]) > FOUND
