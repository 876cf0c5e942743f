"""From the views of images to class probabilities, averaged as the papers average them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Prepare = Callable[[jax.Array], jax.Array]
Predict = Callable[[Mapping[str, Any], jax.Array], jax.Array]


def predict_crops(model: nn.Module, prepare: Prepare) -> Predict:
    """The function that gives the mean of the crops' softmax outputs.

    Krizhevsky et al. 2012, section 4.1; Simonyan & Zisserman 2014, section 3.2. The crops go
    through the network one after another, so that memory is that of one crop of each image.

    Args:
      model: the network.
      prepare: from uint8 images to what the network takes.

    Returns:
      A function of the variables and of crops, uint8 of shape (batch, crops, size, size, channels),
      that gives probabilities, float32 of shape (batch, classes).
    """

    def predict(variables: Mapping[str, Any], crops: jax.Array) -> jax.Array:
        def probabilities(views: jax.Array) -> jax.Array:
            return jax.nn.softmax(jnp.asarray(model.apply(variables, prepare(views))))

        return jnp.mean(jax.lax.map(probabilities, jnp.moveaxis(crops, 1, 0)), axis=0)

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
