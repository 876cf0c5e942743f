"""Every random number is a pure function of (seed, purpose, step, example).

On devices that is a typed jax key, folded; on the host it is numpy's counter-based Philox, whose
key holds the seed and the purpose and whose counter holds the step and the example. Neither has
any state to save, so a resumed run draws what the run that was never stopped would have drawn.
"""

import enum

import jax
import numpy as np


class Purpose(enum.IntEnum):
    """What a random number is for; the enumeration only grows, no number changes its meaning."""

    INITIALIZATION = 0
    DROPOUT = 1
    SHUFFLE = 2
    CROP = 3
    COLOR_SHIFT = 4
    BENCHMARK = 5
    PHOTOMETRIC = 6
    MIXING = 7


def device_key(seed: int, purpose: Purpose, step: int | jax.Array = 0) -> jax.Array:
    """The typed key of a purpose at a step: ``fold_in(fold_in(key(seed), purpose), step)``."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(purpose)), step)


def example_keys(key: jax.Array, indices: jax.Array) -> jax.Array:
    """One key for each example, shape ``(batch,)``, from the examples' indices ``(batch,)``."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def host_generator(seed: int, purpose: Purpose, step: int, example: int = 0) -> np.random.Generator:
    """A numpy generator for one example at one step; making it costs microseconds."""
    counter = np.array([0, 0, step, example], np.uint64)
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=counter)
    )
