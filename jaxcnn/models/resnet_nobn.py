"""A ResNet-50 without BatchNorm, as one of the sources writes it: not the paper's network."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import (
    Activation,
    Dropout,
    FullyConnected,
    MaxPool,
    adaptive_average_pool,
    check_images,
    sliding_average_pool,
)
from jaxcnn.models.registry import register


class UnnormalizedBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each with a ReLU, and a 1x1 convolution around them.

    Attributes:
      width: channels of the first two convolutions; the others have four times as many.
      stride: of the first convolution and of the one around.
      conv: makes a convolution.
    """

    width: int
    stride: int
    conv: Callable[..., nn.Conv]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, height, width, channels) to the block's channels, halved or not."""
        y = self.conv(self.width, (1, 1), strides=self.stride, padding=0, name="conv1")(x)
        y = Activation(nn.relu, name="relu1")(y)
        y = self.conv(self.width, (3, 3), padding=1, name="conv2")(y)
        y = Activation(nn.relu, name="relu2")(y)
        y = self.conv(4 * self.width, (1, 1), padding=0, name="conv3")(y)
        # The ReLU comes before the addition, and none after it.
        y = Activation(nn.relu, name="relu3")(y)
        return y + self.conv(
            4 * self.width, (1, 1), strides=self.stride, padding=0, name="shortcut"
        )(x)


class UnnormalizedStage(nn.Module):
    """Blocks of one width; the last of them may halve the map.

    Attributes:
      blocks: how many.
      stride: of the last one.
      block: makes a block of a given stride.
    """

    blocks: int
    stride: int
    block: Callable[..., UnnormalizedBlock]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, height, width, channels) to the stage's channels, halved or not."""
        for i in range(1, self.blocks + 1):
            x = self.block(stride=self.stride if i == self.blocks else 1, name=f"block{i}")(x)
        return x


class ResNet50NoBN(nn.Module):
    """Sixteen bottlenecks whose every shortcut is a convolution; maps of 112 to 7 rows of 224.

    Attributes:
      num_classes: the number of logits.
      width: channels of the first convolution (the source's ``base_dim``); all others scale with
        it.
      dropout: the probability of dropping a channel before the last layer; the source drops none.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 2
    width: int = 64
    dropout: float = 0.0
    initialization: str = "he"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, dense: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels), of any size.
          train: drop out.
          dense: the fully convolutional form, on the same variables: 7 x 7 averages of the last
            map are taken at every position.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them.

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        name = f"this ResNet{' with dense=True' if dense else ''}"
        check_images(images, 193 if dense else 1, name)
        init = initialization(self.initialization)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        conv = functools.partial(
            nn.Conv,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=wide,
            conv_general_dilated=self.conv_general_dilated,
        )
        x = conv(self.width, (7, 7), strides=2, padding=3, name="conv1")(images)
        x = Activation(nn.relu, name="relu1")(x)
        x = MaxPool(3, 2, padding=1, name="pool1")(x)
        for i, (blocks, stride) in enumerate(((3, 2), (4, 2), (6, 2), (3, 1))):
            block = functools.partial(UnnormalizedBlock, width=self.width * 2**i, conv=conv)
            x = UnnormalizedStage(blocks, stride, block, name=f"stage{i + 1}")(x)
        x = sliding_average_pool(x, 7) if dense else adaptive_average_pool(x, 1)[:, 0, 0]
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="dropout")(x, train=train)
        return FullyConnected(
            self.num_classes, kernel_init=init.linear, dtype=wide, param_dtype=wide, name="logits"
        )(x)


register("resnet50_nobn", ResNet50NoBN)
