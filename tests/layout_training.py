"""Twenty steps of a narrow VGG with BatchNorm, dropout and augmentation, on a given layout.

Run as a program it is one of two processes:
``python layout_training.py COORDINATOR PROCESS MODE FILE.npz``.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models
from jaxcnn.models.layers import Dropout
from jaxcnn.preprocessing import ColorShift, Preprocessing
from jaxcnn.randomness import Purpose, device_key, example_keys, host_generator
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.processes import joined
from jaxcnn.training.steps import create_state, make_train_step

STEPS, BATCH, SIZE = 20, 32, 32


def global_batch(step):
    """The batch of a step: classes are told apart by their brightness."""
    random = host_generator(0, Purpose.SHUFFLE, step)
    label = random.integers(0, 4, BATCH)
    noise = random.integers(0, 64, (BATCH, SIZE, SIZE, 3))
    return {
        "image": (noise + 48 * label[:, None, None, None]).astype(np.uint8),
        "label": label.astype(np.int32),
        "index": random.permutation(1000)[:BATCH].astype(np.int32),
        # One image is left out of every batch, as a skipped one is.
        "weight": (np.arange(BATCH) != step % BATCH).astype(np.float32),
    }


def train(layout, *, seed=0, steps=STEPS, **other_fields):
    """Final parameters and statistics, the losses, and the first dropout masks of each step."""
    fields = {
        "num_classes": 4,
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
            lambda s: 2e-5 * 0.5 ** (s // 10),
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
    rows = BATCH // jax.process_count()
    mine = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    losses, masks = [], []
    for s in range(steps):
        batch = layout.place({k: v[mine] for k, v in global_batch(s).items()})
        masks.append(layout.fetch(kept(state.step, batch)))
        state, metrics = step(state, batch)
        losses.append(layout.fetch(metrics["loss"]))
    state = layout.fetch(state)
    return (
        {"params": state.params, "batch_stats": state.batch_stats, "opt_state": state.opt_state},
        np.array(losses),
        np.array(masks),
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
        tree, losses, masks = train(make_layout(config))
    rows = BATCH // 2
    indices = [global_batch(s)["index"][int(process) * rows :][:rows] for s in range(STEPS)]
    leaves = {f"leaf{k}": leaf for k, leaf in enumerate(jax.tree.leaves(tree))}
    np.savez(path, **leaves, losses=losses, masks=masks, indices=indices)
