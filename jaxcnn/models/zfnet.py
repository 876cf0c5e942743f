"""ZFNet, made to be seen into (Zeiler & Fergus 2013, arXiv 1311.2901, figure 3 and table 1)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.models.head import fully_connected_head
from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import (
    Activation,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    check_images,
)
from jaxcnn.models.registry import register

# Kernel, stride and padding of the five convolutions.
CONVOLUTIONS = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))


class ZFNet(nn.Module):
    """A ZFNet, from images to logits: one tower, with 110, 55, 26, 13 and 6 rows of 224.

    Attributes:
      num_classes: the number of logits.
      widths: channels of the five convolutions.
      width: channels of the first convolution; the others scale with it. None: as in ``widths``.
      hidden: widths of the hidden fully connected layers.
      pooled_size: height and width of the map that the first fully connected layer sees: 6 is what
        the pools leave of 224. Maps of another size are averaged to it.
      dropout: the probability of dropping each output of the hidden fully connected layers.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 1000
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    width: int | None = None
    hidden: tuple[int, ...] = (4096, 4096)
    pooled_size: int = 6
    dropout: float = 0.5
    initialization: str = "zfnet"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, dense: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels).
          train: drop out.
          dense: the fully convolutional form, on the same variables: the fully connected layers
            are swept over the last map.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them.

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        name = f"this ZFNet{' with dense=True' if dense else ''}"
        check_images(images, _least(self.pooled_size if dense else 1), name)
        init = initialization(self.initialization)
        x = images
        for i, (size, stride, padding) in enumerate(CONVOLUTIONS, 1):
            x = nn.Conv(
                self.widths[i - 1] * (self.width or self.widths[0]) // self.widths[0],
                (size, size),
                strides=stride,
                padding=padding,
                kernel_init=init.convolution,
                dtype=self.dtype,
                param_dtype=jnp.promote_types(self.dtype, jnp.float32),
                conv_general_dilated=self.conv_general_dilated,
                name=f"conv{i}",
            )(x)
            x = Activation(nn.relu, name=f"relu{i}")(x)
            if i <= 2:
                # In Caffe's ceiling mode 110 rows become the paper's 55, and 26 become 13.
                x = MaxPool(3, 2, ceil=True, name=f"pool{i}")(x)
                # "Contrast normalized across feature maps" after the pool, unlike AlexNet; the
                # paper gives no constants, and these are AlexNet's.
                x = LocalResponseNorm(name=f"norm{i}")(x)
        x = MaxPool(3, 2, name="pool5")(x)

        if not dense:
            x = adaptive_average_pool(x, self.pooled_size)
            x = x.reshape(x.shape[0], -1)
        return fully_connected_head(
            x,
            self.hidden,
            self.num_classes,
            first=6,
            window=self.pooled_size,
            init=init,
            dropout=self.dropout,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )


def _least(last: int) -> int:
    """The smallest image of which the last pool leaves ``last`` rows."""
    rows = 2 * last + 1  # before pool5
    rows = 2 * rows  # before pool2, where one row more in the last window is made up
    rows = 2 * rows + 3  # before conv2
    rows = 2 * rows  # before pool1
    return 2 * rows + 3  # before conv1


# Feature maps of layers 3, 4 and 5: "512, 1024, 512 maps" (table 2).
ZFNetLarge = functools.partial(ZFNet, widths=(96, 256, 512, 1024, 512))

register("zfnet", ZFNet)
register("zfnet_large", ZFNetLarge)
