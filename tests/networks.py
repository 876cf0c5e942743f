"""Small variables, images and compiled calls for the tests of networks."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models

KEY = jax.random.key(0)
# What runs once is compiled quickly rather than to run quickly.
QUICKLY = {"xla_backend_optimization_level": 0}


def pictures(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def shapes(model, size=224, channels=3):
    return _shapes(model, (1, size, size, channels))


def _shapes(model, shape):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda images: model.init(KEY, images), images)


def initialized(model, shape=(1, 224, 224, 3)):
    """Variables in which nothing is 0 or 1, biases and statistics included, made without XLA."""
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        deviation = math.sqrt(2 / math.prod(leaf.shape[:-1])) if name == "kernel" else 0.1
        values = generator.normal(float(name in ("scale", "var")), deviation, leaf.shape)
        return values.astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, _shapes(model, shape))


@functools.partial(
    jax.jit, static_argnames=("model", "train", "dense", "mutable"), compiler_options=QUICKLY
)
def apply(model, variables, images, **arguments):
    return model.apply(variables, images, **arguments)


@functools.partial(
    jax.jit, static_argnames=("model", "names", "train", "dense"), compiler_options=QUICKLY
)
def features(model, variables, images, names, **arguments):
    return models.features(model, variables, images, names, **arguments)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
