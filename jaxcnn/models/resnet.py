"""Residual networks and their plain counterparts (He, Zhang, Ren & Sun 2015, arXiv 1512.03385)."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.errors import UserError
from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import (
    Activation,
    BatchNorm,
    Dropout,
    FullyConnected,
    MaxPool,
    adaptive_average_pool,
    check_images,
    sliding_average_pool,
)
from jaxcnn.models.registry import register

# Table 1: the blocks of each stage.
BLOCKS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class Block(nn.Module):
    """Two or three convolutions, and a shortcut around them.

    Attributes:
      width: channels of the convolutions, but that a bottleneck's last has four times as many.
      strides: of each convolution: 1, or 2 for the one that halves the map.
      bottleneck: 1x1, 3x3, 1x1, in place of two of 3x3.
      shortcut: ``'A'``, ``'B'``, ``'C'`` or None; see ``ResNet``.
      conv: makes a convolution without a bias.
      norm: makes its normalisation.
    """

    width: int
    strides: tuple[int, ...]
    bottleneck: bool
    shortcut: str | None
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, height, width, channels) to the block's channels, halved or not."""
        w = self.width
        shape = ((w, 1), (w, 3), (4 * w, 1)) if self.bottleneck else ((w, 3), (w, 3))
        y = x
        for i, ((channels, size), stride) in enumerate(zip(shape, self.strides, strict=True), 1):
            y = self.conv(
                channels, (size, size), strides=stride, padding=size // 2, name=f"conv{i}"
            )(y)
            y = self.norm(name=f"bn{i}")(y)
            if i < len(shape):
                y = Activation(nn.relu, name=f"relu{i}")(y)
        if self.shortcut is not None:
            y = y + self._shortcut(x, channels=y.shape[-1])
        return Activation(nn.relu, name=f"relu{len(shape)}")(y)

    def _shortcut(self, x: jax.Array, channels: int) -> jax.Array:
        """What is added to the last convolution's output."""
        stride, changes = max(self.strides), max(self.strides) > 1 or x.shape[-1] != channels
        if self.shortcut == "C" or (self.shortcut == "B" and changes):
            x = self.conv(channels, (1, 1), strides=stride, padding=0, name="shortcut")(x)
            return self.norm(name="bn_shortcut")(x)
        x = x[:, ::stride, ::stride]
        return jnp.pad(x, [(0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])])


class Stage(nn.Module):
    """Blocks on maps of one size; the first of them may halve it.

    Attributes:
      blocks: how many.
      strides: of the first block's convolutions; all others' are 1.
      block: makes a block of given strides.
    """

    blocks: int
    strides: tuple[int, ...]
    block: Callable[..., Block]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, height, width, channels) to the stage's channels, halved or not."""
        for i in range(1, self.blocks + 1):
            strides = self.strides if i == 1 else (1,) * len(self.strides)
            x = self.block(strides=strides, name=f"block{i}")(x)
        return x


class ResNet(nn.Module):
    """A residual network, from images to logits.

    Attributes:
      blocks: of each stage; each stage but the first halves the map and doubles the channels.
      num_classes: the number of logits.
      width: channels of the first stage's convolutions; all others scale with it.
      bottleneck: blocks of 1x1, 3x3, 1x1 convolutions, in place of two of 3x3.
      shortcut: where a block changes the map: ``'A'``, every second position, padded with channels
        of zeros; ``'B'``, a 1x1 convolution; ``'C'``, a 1x1 convolution around every block
        (section 3.3). None: none anywhere, a plain network.
      stride_in: which convolution of a bottleneck halves the map: ``'conv1'``, the first 1x1, as in
        the paper (v1), or ``'conv2'``, the 3x3, as in torchvision (v1.5).
      small_images: a first convolution of 3x3 and no pool, for images of 32 x 32 (section 4.2).
      pooled_size: height and width of the window that ``dense`` averages: what the last stage
        leaves of the images that the network is trained on.
      norm: makes the normalisation after every convolution.
      dropout: the probability of dropping a channel before the last layer; the paper drops none.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    blocks: tuple[int, ...] = BLOCKS[50]
    num_classes: int = 1000
    width: int = 64
    bottleneck: bool = True
    shortcut: Literal["A", "B", "C"] | None = "B"
    stride_in: Literal["conv1", "conv2"] = "conv1"
    small_images: bool = False
    pooled_size: int = 7
    norm: Callable[..., nn.Module] = BatchNorm
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
          train: normalise by the batch's statistics, updating ``batch_stats``, and drop out.
          dense: the fully convolutional form, on the same variables: averages of ``pooled_size``
            squared of the last map are taken at every position.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them.

        Raises:
          UserError: the images are too small, or a field has no such value.
        """
        if self.shortcut not in ("A", "B", "C", None):
            raise UserError(f"shortcut is 'A', 'B', 'C' or None, not {self.shortcut!r}")
        if self.stride_in not in ("conv1", "conv2"):
            raise UserError(f"stride_in is 'conv1' or 'conv2', not {self.stride_in!r}")
        halvings = len(self.blocks) - 1 + (0 if self.small_images else 2)
        least = 2**halvings * (self.pooled_size - 1) + 1 if dense else 1
        check_images(images, least, f"this ResNet{' with dense=True' if dense else ''}")
        init = initialization(self.initialization)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        conv = functools.partial(
            nn.Conv,
            conv_general_dilated=self.conv_general_dilated,
            use_bias=False,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=wide,
        )
        norm = functools.partial(
            self.norm,
            use_running_average=not train,
            axis_name=self.axis_name,
            dtype=self.dtype,
            param_dtype=wide,
        )

        size, stride = (3, 1) if self.small_images else (7, 2)
        x = conv(self.width, (size, size), strides=stride, padding=size // 2, name="conv1")(images)
        x = norm(name="bn1")(x)
        x = Activation(nn.relu, name="relu1")(x)
        if not self.small_images:
            x = MaxPool(3, 2, padding=1, name="pool1")(x)

        for i, blocks in enumerate(self.blocks):
            block = functools.partial(
                Block,
                width=self.width * 2**i,
                bottleneck=self.bottleneck,
                shortcut=self.shortcut,
                conv=conv,
                norm=norm,
            )
            first = 1 if i == 0 else 2
            if not self.bottleneck:
                strides: tuple[int, ...] = (first, 1)
            else:
                strides = (first, 1, 1) if self.stride_in == "conv1" else (1, first, 1)
            x = Stage(blocks, strides, block, name=f"stage{i + 1}")(x)

        window = self.pooled_size
        x = sliding_average_pool(x, window) if dense else adaptive_average_pool(x, 1)[:, 0, 0]
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="dropout")(x, train=train)
        return FullyConnected(
            self.num_classes, kernel_init=init.linear, dtype=wide, param_dtype=wide, name="logits"
        )(x)


ResNet18 = functools.partial(ResNet, blocks=BLOCKS[18], bottleneck=False)
ResNet34 = functools.partial(ResNet, blocks=BLOCKS[34], bottleneck=False)
ResNet50 = functools.partial(ResNet, blocks=BLOCKS[50])
ResNet101 = functools.partial(ResNet, blocks=BLOCKS[101])
ResNet152 = functools.partial(ResNet, blocks=BLOCKS[152])
ResNet50V15 = functools.partial(ResNet50, stride_in="conv2")
ResNet101V15 = functools.partial(ResNet101, stride_in="conv2")
ResNet152V15 = functools.partial(ResNet152, stride_in="conv2")
Plain18 = functools.partial(ResNet18, shortcut=None)
Plain34 = functools.partial(ResNet34, shortcut=None)


def _for_small_images(depth: int, shortcut: Literal["A"] | None) -> Callable[..., ResNet]:
    """The network of 6n + 2 layers for images of 32 x 32 (section 4.2)."""
    return functools.partial(
        ResNet,
        blocks=((depth - 2) // 6,) * 3,
        num_classes=10,
        width=16,
        bottleneck=False,
        shortcut=shortcut,
        small_images=True,
        pooled_size=8,
    )


ResNet20 = _for_small_images(20, "A")
ResNet32 = _for_small_images(32, "A")
ResNet44 = _for_small_images(44, "A")
ResNet56 = _for_small_images(56, "A")
ResNet110 = _for_small_images(110, "A")
Plain20 = _for_small_images(20, None)
Plain32 = _for_small_images(32, None)
Plain44 = _for_small_images(44, None)
Plain56 = _for_small_images(56, None)
Plain110 = _for_small_images(110, None)

register("resnet18", ResNet18)
register("resnet34", ResNet34)
register("resnet50", ResNet50)
register("resnet101", ResNet101)
register("resnet152", ResNet152)
register("resnet50_v1_5", ResNet50V15)
register("resnet101_v1_5", ResNet101V15)
register("resnet152_v1_5", ResNet152V15)
register("resnet20", ResNet20, images=(32, 32, 3))
register("resnet32", ResNet32, images=(32, 32, 3))
register("resnet44", ResNet44, images=(32, 32, 3))
register("resnet56", ResNet56, images=(32, 32, 3))
register("resnet110", ResNet110, images=(32, 32, 3))
register("plain18", Plain18)
register("plain34", Plain34)
register("plain20", Plain20, images=(32, 32, 3))
register("plain32", Plain32, images=(32, 32, 3))
register("plain44", Plain44, images=(32, 32, 3))
register("plain56", Plain56, images=(32, 32, 3))
register("plain110", Plain110, images=(32, 32, 3))
