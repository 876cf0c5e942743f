"""The training of a network by itself, without a recipe or a data set: what is measured of it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import Batch, TrainState, create_state, make_train_step

NORMALISE = Preprocessing(mean=(128.0,) * 3, std=(64.0,) * 3)


def plain_training(
    model: nn.Module, image_size: int
) -> tuple[Callable[[], TrainState], Callable[..., tuple[TrainState, dict[str, jax.Array]]]]:
    """What makes the first state, and the step: momentum on images that are only normalised.

    Args:
      model: the network, with the axis of pmap if it is trained so.
      image_size: pixels.
    """
    optimizer = make_optimizer(OptimizerConfig(name="momentum", weight_decay=5e-4))
    images = jnp.zeros((1, image_size, image_size, 3))

    def augment(batch: Batch, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        del step
        return NORMALISE(batch["image"]), batch["label"]

    step = make_train_step(
        model,
        optimizer,
        lambda step: jnp.float32(1e-6),
        augment,
        seed=0,
        steps_per_epoch=1_000_000,
        log_every=1_000_000,
        axis_name=model.axis_name,
    )
    # Outside of pmap there is no such axis, and the parameters are the same.
    alone = model.clone(axis_name=None)
    return functools.partial(create_state, alone, optimizer, images, seed=0), step


def batch_shapes(count: int, image_size: int, channels: int = 3) -> dict[str, jax.ShapeDtypeStruct]:
    """Of a batch of so many square images."""
    return {
        "image": jax.ShapeDtypeStruct((count, image_size, image_size, channels), jnp.uint8),
        "label": jax.ShapeDtypeStruct((count,), jnp.int32),
        "index": jax.ShapeDtypeStruct((count,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((count,), jnp.float32),
    }


def memory(executable: Any) -> int | None:
    """Bytes of a compiled step on one device, its arguments included; None where unknown."""
    sizes = executable.memory_analysis()
    total = sizes and (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )
    return total or None
