"""Twenty steps of a narrow network with dropout and augmentation, on a given layout.

Run as a program it is one of several processes, whose numbers it leaves in a file:
``python layout_training.py NETWORK FILE.npz PARALLEL``, with a ``ParallelConfig``'s fields as JSON.
"""

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
from command_run import finish

from experiments.faults.small_run import free_port
from jaxcnn import models
from jaxcnn.colors import ColorShift
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.pipeline import TrainBatches
from jaxcnn.data.sources import open_source
from jaxcnn.models.layers import Dropout
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.randomness import Purpose, device_key, example_keys
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.optimizers import OptimizerConfig, averaging, make_optimizer
from jaxcnn.training.processes import joined
from jaxcnn.training.steps import create_state, make_train_step

STEPS, BATCH, CLASSES = 20, 32, 10


@dataclasses.dataclass(frozen=True)
class Network:
    """A narrow form of a network, and a rate at which its training is not chaotic.

    Where rounding puts a value on the other side of a ReLU's kink the gradients jump, and a high
    rate lets that grow from step to step. BatchNorm makes it grow faster.
    """

    size: int
    width: int
    rate: float


NETWORKS = {
    "vgg11_bn": Network(size=32, width=8, rate=5e-6),
    "alexnet": Network(size=64, width=16, rate=1e-3),
}


def own_batches(layout, size):
    """The training batches of a run, as this process has them, through the real pipeline."""
    share, shares = layout.share
    batches = TrainBatches(
        open_source("digits", "train"),
        config=DataConfig(image_size=size, channels=3),
        augment=AugmentConfig(scale_min=size, scale_max=size + 8),
        batch_size=BATCH,
        process_index=share,
        process_count=shares,
        seed=0,
    )
    for step in range(STEPS):
        batch = batches[step]
        # Some images have no weight, as skipped ones have none.
        yield batch | {"weight": batch["weight"] * (batch["index"] % 32 != 0)}


def start(layout, network, *, seed=0, **other_fields):
    """The compiled step, and the state before the first one as it lies on the devices."""
    form = NETWORKS[network]
    fields = {
        "num_classes": CLASSES,
        "width": form.width,
        "hidden": (32, 32),
        "pooled_size": 1,
        "dropout": 0.5,
        "initialization": "he",
    }
    optimizer = make_optimizer(OptimizerConfig(name="paper_momentum", weight_decay=5e-4))
    shift = ColorShift(
        std=0.1, eigenvalues=(900.0, 90.0, 9.0), eigenvectors=tuple(map(tuple, np.eye(3)))
    )
    normalise = Preprocessing(mean=(128.0,) * 3, std=(64.0,) * 3)

    def augment(batch, step):
        keys = example_keys(device_key(seed, Purpose.COLOR_SHIFT, step), batch["index"])
        return normalise(shift(batch["image"].astype(jnp.float32), keys)), batch["label"]

    step = layout.compile(
        make_train_step(
            models.create_model(network, **fields, axis_name=layout.axis_name).clone(
                **other_fields
            ),
            optimizer,
            lambda s: form.rate * 0.5 ** (s // 10),
            augment,
            seed=seed,
            steps_per_epoch=10,
            log_every=5,
            average=averaging(OptimizerConfig(ema=0.9), steps_per_epoch=10),
            axis_name=layout.axis_name,
        ),
        donate=(0,),
    )
    create = jax.jit(
        lambda: create_state(
            models.create_model(network, **fields),
            optimizer,
            jnp.zeros((1, form.size, form.size, 3)),
            seed=seed,
            averaged=True,
        )
    )
    return step, layout.distribute(create())


def train(
    layout, network="vgg11_bn", *, seed=0, steps=STEPS, look=lambda state: None, **other_fields
):
    """Final state, and of each step the loss, the first dropout mask and the examples' indices.

    Before every step and at the end ``look`` is given the state as it lies on the devices.
    """
    step, state = start(layout, network, seed=seed, **other_fields)
    kept = layout.compile(lambda step, batch: kept_units(step, batch, seed, layout.axis_name))
    losses, masks, indices = [], [], []
    compiled = None
    for batch in itertools.islice(own_batches(layout, NETWORKS[network].size), steps):
        look(state)
        indices.append(batch["index"])
        batch = layout.place(batch)
        # Laid over the devices as any; only each device's code is made in less time. A state that
        # a step gives and that does not lie as the first one did is refused by the next.
        compiled = compiled or step.lower(state, batch).compile(
            compiler_options={"xla_backend_optimization_level": 0}
        )
        masks.append(layout.fetch(kept(state.step, batch)))
        state, metrics = compiled(state, batch)
        losses.append(layout.fetch(metrics["loss"]))
    look(state)
    state = layout.fetch(state)
    names = ("params", "batch_stats", "opt_state", "ema")
    return (
        {name: getattr(state, name) for name in names},
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


def assert_same_training(ours, reference):
    """The same numbers, masks and examples, to rounding."""
    state, losses, masks, indices = ours
    expected, expected_losses, expected_masks, expected_indices = reference
    for name in state:
        # Running variances are of the size of 1 to 100, so that they are compared relatively.
        rtol = 1e-5 if name == "batch_stats" else 0
        chex.assert_trees_all_close(state[name], expected[name], atol=1e-5, rtol=rtol)
    np.testing.assert_allclose(losses, expected_losses, atol=1e-5)
    np.testing.assert_array_equal(masks, expected_masks)
    np.testing.assert_array_equal(indices, expected_indices)


def train_in_processes(folder, structure, network="vgg11_bn", *, devices, **parallel):
    """What ``train`` gives in each of two processes of so many devices; the state's structure."""
    flags = (
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_backend_optimization_level=0",
    )
    meeting = {"coordinator": f"127.0.0.1:{free_port()}", "processes": 2}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                network,
                folder / f"{number}.npz",
                json.dumps(parallel | meeting | {"process": number}),
            ],
            env=os.environ | {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        finish(process)
    saved = [np.load(folder / f"{number}.npz") for number in range(2)]
    return [
        (
            structure.unflatten(own[f"leaf{k}"] for k in range(structure.num_leaves)),
            own["losses"],
            own["masks"],
            own["indices"],
        )
        for own in saved
    ]


if __name__ == "__main__":
    network, path, parallel = sys.argv[1:]
    config = ParallelConfig(**json.loads(parallel))
    with joined(config):
        tree, losses, masks, indices = train(make_layout(config), network)
    leaves = {f"leaf{k}": leaf for k, leaf in enumerate(jax.tree.leaves(tree))}
    np.savez(path, **leaves, losses=losses, masks=masks, indices=indices)
