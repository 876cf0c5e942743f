"""What is exported: one function, from a batch of images to the answers to them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Classifying:
    """A function to export, and what it takes.

    Attributes:
      logits: from images, shape (batch, height, width, channels), to logits, float32, shape (batch,
        classes).
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images, in the order R, G, B.
      dtype: of the images: uint8; or float32, where they are to be normalised already.
      answers: what it gives: ``'probabilities'`` or ``'logits'``.
      classes: how many.
    """

    logits: Callable[[jax.Array], jax.Array]
    height: int
    width: int
    channels: int
    dtype: np.dtype
    answers: str
    classes: int

    def function(self, images: jax.Array) -> jax.Array:
        """From images to the answers."""
        logits = self.logits(images)
        return logits if self.answers == "logits" else jax.nn.softmax(logits)

    def images(self, batch: Any) -> jax.ShapeDtypeStruct:
        """A batch of so many, or of a symbolic number."""
        return jax.ShapeDtypeStruct((batch, self.height, self.width, self.channels), self.dtype)


def classifying(
    model: nn.Module,
    variables: Mapping[str, Any],
    preprocessing: Preprocessing | None,
    *,
    height: int,
    width: int,
    channels: int,
    logits: bool = False,
    dtype: DTypeLike | None = None,
) -> Classifying:
    """The function of a trained network, its variables within it.

    Its convolutions are those of ``jax.lax``, and it knows no axis of a ``pmap``.

    Args:
      model: the network.
      variables: its own.
      preprocessing: makes its input of uint8 images; None: the images are normalised already.
      height: of the images, in pixels.
      width: of the images, in pixels.
      channels: of the images.
      logits: give the logits, not their softmax.
      dtype: of the computation, such as float32, which all that runs ONNX knows; None: the
        network's own.
    """
    plain = model.clone(axis_name=None, conv_general_dilated=None, dtype=dtype or model.dtype)

    def function(images: jax.Array) -> jax.Array:
        x = images if preprocessing is None else preprocessing(images)
        return jnp.asarray(plain.apply(variables, x))

    given = np.dtype(np.float32 if preprocessing is None else np.uint8)
    answers = "logits" if logits else "probabilities"
    return Classifying(function, height, width, channels, given, answers, model.num_classes)
