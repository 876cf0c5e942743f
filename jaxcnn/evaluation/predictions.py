"""From the views of images to class probabilities, averaged as the papers average them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Prepare = Callable[[jax.Array], jax.Array]
Predict = Callable[[Mapping[str, Any], jax.Array], jax.Array]


def predict_crops(model: nn.Module, prepare: Prepare, *, at_once: int = 256) -> Predict:
    """The function that gives the mean of the crops' softmax outputs.

    Krizhevsky et al. 2012, section 4.1; Simonyan & Zisserman 2014, section 3.2. Where the crops are
    many they go through the network group by group, which bounds the memory.

    Args:
      model: the network.
      prepare: from uint8 images to what the network takes.
      at_once: how many crops, of all images, go through the network together; one of each image at
        least.

    Returns:
      A function of the variables and of crops, uint8 of shape (batch, crops, size, size, channels),
      that gives probabilities, float32 of shape (batch, classes).
    """

    def predict(variables: Mapping[str, Any], crops: jax.Array) -> jax.Array:
        images, number, *shape = crops.shape
        # Groups of the same size, so that one program does for all.
        divisors = [k for k in range(1, number + 1) if number % k == 0]
        group = max([1, *(k for k in divisors if k * images <= at_once)])

        def total(views: jax.Array) -> jax.Array:
            logits = jnp.asarray(model.apply(variables, prepare(views.reshape(-1, *shape))))
            return jax.nn.softmax(logits).reshape(images, group, -1).sum(axis=1)

        groups = crops.reshape(images, number // group, group, *shape)
        return jax.lax.map(total, jnp.moveaxis(groups, 1, 0)).sum(axis=0) / number

    return predict


def predict_whole(model: nn.Module, prepare: Prepare) -> Predict:
    """The function that applies the network fully convolutionally to whole images.

    Simonyan & Zisserman 2014, section 3.2: the map of class scores is averaged over its positions,
    and the softmax outputs of the image and of its mirror image are averaged.

    Args:
      model: a network whose call takes ``dense=True``.
      prepare: from uint8 images to what the network takes.

    Returns:
      A function of the variables and of images, uint8 of shape (batch, height, width, channels),
      that gives probabilities, float32 of shape (batch, classes).
    """

    def predict(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        def probabilities(images: jax.Array) -> jax.Array:
            scores = jnp.asarray(model.apply(variables, prepare(images), dense=True))
            return jax.nn.softmax(jnp.mean(scores, axis=(1, 2)))

        return (probabilities(images) + probabilities(images[:, :, ::-1])) / 2

    return predict
