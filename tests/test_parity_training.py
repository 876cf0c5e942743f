"""Our networks train as PyTorch's do: one step in every part, and fifty steps in their losses.

Against what `make_references.py` stored, on the same seeded weights, images and labels.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_networks import (
    as_dtype,
    from_entries,
    paper_alexnet,
    paper_alexnet_entries,
    references,
    run,
    tensors,
)
from reference_weights import images, projection

from jaxcnn import models
from jaxcnn.losses import cross_entropy
from jaxcnn.pretrained.torchvision import TORCHVISION
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import create_state, make_train_step

LABELS = np.array([3, 1, 4, 1])
NARROW = {"num_classes": 10, "hidden": (48, 32), "dropout": 0.0}


def network(name, dtype=np.float64):
    make = {
        "alexnet": lambda: models.AlexNetOWT(**NARROW, dtype=dtype),
        "alexnet_paper": paper_alexnet,
        "vgg": lambda: models.VGG11BN(width=8, **NARROW, dtype=dtype),
        "googlenet": lambda: models.GoogLeNetBN(
            num_classes=10, dropout=0.0, auxiliary_dropout=0.0, dtype=dtype
        ),
        "resnet18": lambda: models.ResNet18(num_classes=10, dtype=dtype),
        "resnet50": lambda: models.ResNet50V15(num_classes=10, dtype=dtype),
    }
    return make[name]()


def entries(name, model):
    return tuple(paper_alexnet_entries() if name == "alexnet_paper" else TORCHVISION.entries(model))


def within(tree, entry):
    """The array of a tree of our variables, in the reference's layout."""
    for key in entry.path:
        tree = tree[key]
    return entry.to_theirs(np.asarray(tree))


def disagreement(ours, stored, place):
    """The largest difference in norm or projection, relative to the norm.

    Gradients that are zero but for rounding (of biases before BatchNorm) are measured against the
    largest of all norms, a millionth of it.
    """
    names, theirs = json.loads(stored[f"{place}/names"]), stored[f"{place}/norms"]
    assert set(names) == set(ours)
    summary = np.array([(np.linalg.norm(ours[k]), projection(k, ours[k])) for k in names])
    floor = 1e-6 * theirs[:, 0].max()
    return np.max(np.abs(summary - theirs) / np.maximum(theirs[:, :1], floor))


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "alexnet_paper", "vgg", "googlenet", "resnet18"),
        pytest.param("resnet50", marks=pytest.mark.full),
    ],
)
def test_one_step_agrees_in_loss_gradients_and_statistics(name):
    stored = references("training")
    with jax.enable_x64(True):
        model = network(name)
        mapped = entries(name, model)
        variables = as_dtype(from_entries(model, mapped, tensors("training", name)), np.float64)
        statistics = variables.get("batch_stats", {})

        def loss_function(params, pixels):
            logits, updated = model.apply(
                {"params": params, "batch_stats": statistics},
                pixels,
                train=True,
                mutable=["batch_stats", "aux_logits"],
            )
            loss = cross_entropy(logits, LABELS).mean()
            for auxiliary in jax.tree.leaves(updated.get("aux_logits", {})):
                loss += 0.3 * cross_entropy(auxiliary, LABELS).mean()
            return loss, updated.get("batch_stats", {})

        (loss, updated), gradients = run(
            jax.value_and_grad(loss_function, has_aux=True),
            variables["params"],
            images(4, 64, 75).astype(np.float64),
            # The gradients of wide kernels take longer without optimisation than to optimise.
            optimization=1 if name.startswith("resnet") else 0,
        )
    assert loss == pytest.approx(stored[f"{name}/loss"], rel=1e-9)
    gradients = {e.key: within(gradients, e) for e in mapped_to(mapped, "params")}
    assert disagreement(gradients, stored, f"{name}/gradients") < 1e-8

    counts = json.loads(stored[f"{name}/counts"])
    after = {}
    for entry in mapped_to(mapped, "batch_stats"):
        old, new = (within(tree, entry) for tree in (statistics, updated))
        if entry.path[-1] == "var":  # PyTorch's is of the batch's unbiased variance
            count = counts[entry.key.removesuffix(".running_var")]
            new = 0.9 * old + (new - 0.9 * old) * count / (count - 1)
        after[entry.key] = new
    assert set(counts) == {key.rpartition(".")[0] for key in after}
    if after:
        assert disagreement(after, stored, f"{name}/statistics") < 1e-8


def mapped_to(mapped, collection):
    """Those of a collection, their paths within it."""
    return [
        dataclasses.replace(entry, path=entry.path[1:])
        for entry in mapped
        if entry.path[0] == collection
    ]


def test_fifty_steps_on_digits_follow_pytorchs_losses():
    """In float64: in float32 PyTorch itself leaves its own losses by a hundredth in ten steps."""
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    pictures = (levels.reshape(-1, 8, 8, 1) / 8 - 1).repeat(4, 1).repeat(4, 2).repeat(3, 3)
    optimizer = make_optimizer(OptimizerConfig(momentum=0.9, weight_decay=5e-4, decay="all"))
    with jax.enable_x64(True):
        model = network("vgg")
        variables = from_entries(model, entries("vgg", model), tensors("training", "vgg"))
        variables = jax.tree.map(jnp.asarray, as_dtype(variables, np.float64))
        create = functools.partial(create_state, model, optimizer, seed=0)
        state = dataclasses.replace(
            run(create, jnp.zeros((1, 32, 32, 3))),
            params=variables["params"],
            batch_stats=variables["batch_stats"],
        )
        step = make_train_step(
            model,
            optimizer,
            lambda step: jnp.asarray(0.005),
            lambda batch, step: (batch["image"], batch["label"]),
            seed=0,
            steps_per_epoch=50,
            log_every=50,
        )
        step = jax.jit(step)
        losses = []
        for i in range(50):
            rows = np.arange(32 * i, 32 * (i + 1))
            batch = {
                "image": pictures[rows],
                "label": labels[rows].astype(np.int32),
                "index": rows.astype(np.int32),
                "weight": np.ones(32, np.float32),
            }
            state, record = step(state, batch)
            losses.append(float(record["loss"]))
    np.testing.assert_allclose(losses, references("training")["digits/losses"], rtol=1e-4)
