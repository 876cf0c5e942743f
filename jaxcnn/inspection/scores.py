"""The score of a class, which attributions ask about."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.errors import UserError, unknown_name


def class_scores(
    model: nn.Module, variables: Mapping[str, Any], images: jax.Array, classes: jax.Array
) -> jax.Array:
    """The logit of a class of each image.

    Args:
      model: the network.
      variables: the network's.
      images: what it takes, shape ``(batch, height, width, channels)``.
      classes: integers, ``(batch,)``.

    Returns:
      Shape ``(batch,)``.
    """
    logits = jnp.asarray(model.apply(variables, images))
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


def class_called(word: str, num_classes: int, class_names: tuple[str, ...] | None) -> int:
    """The number of the class that a word means: its name, or its number from 0.

    Raises:
      UserError: there is none; the nearest name is suggested.
    """
    if class_names is not None and word in class_names:
        return class_names.index(word)
    if word.isdecimal():
        if int(word) < num_classes:
            return int(word)
        raise UserError(f"there is no class {word}; the {num_classes} are 0 to {num_classes - 1}.")
    raise unknown_name("class", word, class_names or map(str, range(num_classes)))


def class_label(number: int, class_names: tuple[str, ...] | None) -> str:
    """What to call a class in a caption."""
    return f"class {number}" if class_names is None else class_names[number].replace("_", " ")


def probabilities(logits: jax.Array) -> np.ndarray:
    """The softmax over the last axis, on the host."""
    return np.asarray(jax.nn.softmax(logits, axis=-1))
