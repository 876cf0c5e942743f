"""Twenty steps of a narrow VGG with BatchNorm, dropout and augmentation, on a given layout.

Run as a program it is one of two processes:
``python layout_training.py COORDINATOR PROCESS MODE FILE.npz``.
"""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.pipeline import DataConfig, TrainBatches
from jaxcnn.data.sources import open_source
from jaxcnn.models.layers import Dropout
from jaxcnn.preprocessing import ColorShift, Preprocessing
from jaxcnn.randomness import Purpose, device_key, example_keys
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.processes import joined
from jaxcnn.training.steps import create_state, make_train_step

STEPS, BATCH, SIZE, CLASSES = 20, 32, 32, 10


def own_batches():
    """The training batches of a run, as this process has them, through the real pipeline."""
    batches = TrainBatches(
        open_source("digits", "train"),
        config=DataConfig(image_size=SIZE, channels=3),
        augment=AugmentConfig(scale_min=SIZE, scale_max=40),
        batch_size=BATCH,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        seed=0,
    )
    for step in range(STEPS):
        batch = batches[step]
        # Some images have no weight, as skipped ones have none.
        yield batch | {"weight": batch["weight"] * (batch["index"] % 32 != 0)}


def train(layout, *, seed=0, steps=STEPS, **other_fields):
    """Final state, and of each step the loss, the first dropout mask and the examples' indices."""
    fields = {
        "num_classes": CLASSES,
        "width": 8,
        "hidden": (32, 32),
        "pooled_size": 1,
        "dropout": 0.5,
        "initialization": "he",
    }
    model = models.create_model(
        "vgg11_bn", **(fields | {"axis_name": layout.axis_name} | other_fields)
    )
    optimizer = make_optimizer(OptimizerConfig(name="paper_momentum", weight_decay=5e-4))
    shift = ColorShift(
        std=0.1, eigenvalues=(900.0, 90.0, 9.0), eigenvectors=tuple(map(tuple, np.eye(3)))
    )
    normalise = Preprocessing(mean=(128.0,) * 3, std=(64.0,) * 3)

    def prepare(images, indices, step):
        keys = example_keys(device_key(seed, Purpose.COLOR_SHIFT, step), indices)
        return normalise(shift(images.astype(jnp.float32), keys))

    step = layout.compile(
        make_train_step(
            model,
            optimizer,
            # Low, for a training that is not chaotic: where rounding puts a value on the other side
            # of a ReLU's kink the gradients jump, and high rates let that grow from step to step.
            lambda s: 5e-6 * 0.5 ** (s // 10),
            prepare,
            seed=seed,
            steps_per_epoch=10,
            log_every=5,
            axis_name=layout.axis_name,
        ),
        donate=(0,),
    )
    kept = layout.compile(lambda step, batch: kept_units(step, batch, seed, layout.axis_name))
    create = jax.jit(
        lambda: create_state(
            models.create_model("vgg11_bn", **fields),
            optimizer,
            jnp.zeros((1, SIZE, SIZE, 3)),
            seed=seed,
        )
    )
    state = layout.replicate(create())
    losses, masks, indices = [], [], []
    for batch in itertools.islice(own_batches(), steps):
        indices.append(batch["index"])
        batch = layout.place(batch)
        masks.append(layout.fetch(kept(state.step, batch)))
        state, metrics = step(state, batch)
        losses.append(layout.fetch(metrics["loss"]))
    state = layout.fetch(state)
    return (
        {"params": state.params, "batch_stats": state.batch_stats, "opt_state": state.opt_state},
        np.array(losses),
        np.array(masks),
        np.array(indices),
    )


def kept_units(step, batch, seed, axis_name):
    """Which units a dropout of this step keeps, for the whole batch."""
    rows = jnp.ones((batch["label"].shape[0], 32))
    kept = Dropout(0.5, axis_name).apply(
        {}, rows, train=True, rngs={"dropout": device_key(seed, Purpose.DROPOUT, step)}
    )
    return kept if axis_name is None else jax.lax.all_gather(kept, axis_name, tiled=True)


if __name__ == "__main__":
    coordinator, process, mode, path = sys.argv[1:]
    config = ParallelConfig(mode=mode, coordinator=coordinator, processes=2, process=int(process))
    with joined(config):
        tree, losses, masks, indices = train(make_layout(config))
    leaves = {f"leaf{k}": leaf for k, leaf in enumerate(jax.tree.leaves(tree))}
    np.savez(path, **leaves, losses=losses, masks=masks, indices=indices)
