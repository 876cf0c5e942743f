"""The fully connected layers that end AlexNet, ZFNet and VGG, swept over a larger map or not."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.models.initialization import Initialization
from jaxcnn.models.layers import Activation, Dropout, FullyConnected


def fully_connected_head(
    x: jax.Array,
    hidden: Sequence[int],
    num_classes: int,
    *,
    first: int,
    window: int,
    init: Initialization,
    dropout: float,
    drop_inputs: bool = False,
    activation: Callable[[jax.Array], jax.Array] = nn.relu,
    train: bool,
    dtype: DTypeLike,
    axis_name: str | None,
) -> jax.Array:
    """``fc6``, ``relu6``, ``dropout6``, ``fc7``, ..., ``logits``: layers of the module that calls.

    Args:
      x: flattened windows of the last map, shape (batch, window * window * channels), or maps to
        sweep, shape (batch, height, width, channels).
      hidden: widths of the hidden layers.
      num_classes: the number of logits.
      first: the number in the first layer's name.
      window: height and width of what the first layer sees at once.
      init: draws the parameters.
      dropout: the probability of dropping an element.
      drop_inputs: drop what enters the hidden layers, as Krizhevsky's later code and torchvision
        do in AlexNet, not what leaves them.
      activation: follows the hidden layers.
      train: drop out.
      dtype: of the computation; the logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.

    Returns:
      Logits, shape (batch, num_classes), or a map of them.
    """
    wide = jnp.promote_types(dtype, jnp.float32)

    def drop(x: jax.Array, number: int) -> jax.Array:
        if not dropout:
            return x
        return Dropout(dropout, axis_name, name=f"dropout{number}")(x, train=train)

    for number, width in enumerate(hidden, start=first):
        if drop_inputs:
            x = drop(x, number)
        x = FullyConnected(
            width,
            window,
            kernel_init=init.linear,
            bias_init=init.positive,
            dtype=dtype,
            param_dtype=wide,
            name=f"fc{number}",
        )(x)
        x = Activation(activation, name=f"relu{number}")(x)
        if not drop_inputs:
            x = drop(x, number)
        window = 1
    return FullyConnected(
        num_classes, window, kernel_init=init.linear, dtype=wide, param_dtype=wide, name="logits"
    )(x)
