"""A first convolutional network, for MNIST's 28 x 28 images."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.models.head import fully_connected_head
from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import Activation, MaxPool, adaptive_average_pool, check_images
from jaxcnn.models.registry import register


class MNISTCNN(nn.Module):
    """Three unpadded convolutions of 5 x 5: maps of 24, 20, 10, 6 and 3 rows of 28.

    Attributes:
      num_classes: the number of logits.
      width: channels of the first convolution; the second has two, the third four times as many.
      hidden: widths of the hidden fully connected layers.
      dropout: the probability of dropping each output of the hidden fully connected layers.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 10
    width: int = 16
    hidden: tuple[int, ...] = (100,)
    dropout: float = 0.0
    initialization: str = "glorot"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: in [0, 1], shape (batch, height, width, channels); the last map of larger ones
            than 28 x 28 is averaged to 3 x 3.
          train: drop out.

        Returns:
          Logits, shape (batch, num_classes).

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        check_images(images, 20, "this network")
        init = initialization(self.initialization)
        convolution = functools.partial(
            nn.Conv,
            conv_general_dilated=self.conv_general_dilated,
            kernel_size=(5, 5),
            padding=0,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=jnp.promote_types(self.dtype, jnp.float32),
        )
        x = convolution(self.width, name="conv1")(images)
        x = Activation(nn.relu, name="relu1")(x)
        x = convolution(2 * self.width, name="conv2")(x)
        x = Activation(nn.relu, name="relu2")(x)
        x = MaxPool(name="pool2")(x)
        x = convolution(4 * self.width, name="conv3")(x)
        x = Activation(nn.relu, name="relu3")(x)
        x = MaxPool(name="pool3")(x)
        x = adaptive_average_pool(x, 3)
        return fully_connected_head(
            x.reshape(x.shape[0], -1),
            self.hidden,
            self.num_classes,
            first=4,
            window=3,
            init=init,
            dropout=self.dropout,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )


register("mnist_cnn", MNISTCNN, images=(28, 28, 1))
