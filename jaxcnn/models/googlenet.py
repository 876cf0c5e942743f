"""GoogLeNet (Szegedy et al. 2014, arXiv 1409.4842, table 1 and figure 3)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.models.head import fully_connected_head
from jaxcnn.models.initialization import Initialization, initialization
from jaxcnn.models.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Dropout,
    FullyConnected,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    check_images,
    sliding_average_pool,
)
from jaxcnn.models.registry import register

# Table 1: the channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection.
MODULES: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


# Makes a convolution, its normalisation and its ReLU within the module that calls:
# layer(x, features, size, name), with a stride where one is given.
Layer = Callable[..., jax.Array]


class Inception(nn.Module):
    """An inception module: four branches side by side, their outputs concatenated.

    Attributes:
      channels: a row of ``MODULES``.
      layer: makes a convolution.
      size: of the kernel of the third branch.
    """

    channels: tuple[int, ...]
    layer: Layer
    size: int = 5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, height, width, channels) to as many rows of other channels."""
        one, reduce3, three, reduce5, five, projection = self.channels
        x1 = self.layer(x, one, 1, "1x1")
        x3 = self.layer(x, reduce3, 1, "3x3_reduce")
        x3 = self.layer(x3, three, 3, "3x3")
        x5 = self.layer(x, reduce5, 1, "5x5_reduce")
        x5 = self.layer(x5, five, self.size, "5x5")
        pooled = MaxPool(3, 1, padding=1, name="pool")(x)
        pooled = self.layer(pooled, projection, 1, "_pool_proj")
        return jnp.concatenate([x1, x3, x5, pooled], axis=-1)


class Auxiliary(nn.Module):
    """An auxiliary classifier, by which gradients reach the lower layers in training.

    Attributes:
      num_classes: the number of logits.
      width: of the network.
      layer: makes a convolution.
      adaptive: average to 4 x 4 by torch's adaptive pool, not by 5 x 5 windows three apart.
      dropout: the probability of dropping an output of the hidden layer.
      initial: draws the parameters.
      dtype: of the computation.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
    """

    num_classes: int
    width: int
    layer: Layer
    adaptive: bool
    dropout: float
    initial: Initialization
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """From maps, shape (batch, height, width, channels), to logits (batch, num_classes)."""
        if not self.adaptive and min(x.shape[1:3]) >= 5:
            x = AveragePool(5, 3, name="pool")(x)
        x = adaptive_average_pool(x, 4)  # 14 rows were pooled to 4 already
        x = self.layer(x, 128 * self.width // 64, 1, "1x1")
        return fully_connected_head(
            x.reshape(x.shape[0], -1),
            (1024 * self.width // 64,),
            self.num_classes,
            first=1,
            window=4,
            init=self.initial,
            dropout=self.dropout,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )


class GoogLeNet(nn.Module):
    """A GoogLeNet, from images to logits; as it stands, the paper's.

    In training the logits of its two auxiliary classifiers, on modules 4a and 4d, are in the
    collection ``aux_logits`` under ``'4a'`` and ``'4d'``, for those who make it mutable.

    Attributes:
      num_classes: the number of logits.
      width: channels of the first convolution; all others scale with it.
      plain_stem: two convolutions without any activation between them and the pools, in place of
        the paper's three with ReLU.
      lrn: local response normalisation after the first pool and before the second.
      norm: makes the normalisation between convolution and ReLU, such as ``BatchNorm``; the
        convolutions then have no bias.
      size: of the kernels of the third branch, which are 5 x 5 in the paper.
      padded_pools: the pools between the stages pad by one, rather than make up the last window
        (Caffe's ceiling mode); either way 112 rows become 56, 28, 14 and 7.
      last_pool: window of the last of those pools.
      auxiliary: have the auxiliary classifiers.
      auxiliary_adaptive: average to 4 x 4 by torch's adaptive pool in them, not by 5 x 5 windows
        three apart.
      auxiliary_dropout: the probability of dropping an element in them.
      dropout: the probability of dropping a channel before the last layer.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 1000
    width: int = 64
    plain_stem: bool = False
    lrn: bool = True
    norm: Callable[..., nn.Module] | None = None
    size: int = 5
    padded_pools: bool = False
    last_pool: int = 3
    auxiliary: bool = True
    auxiliary_adaptive: bool = False
    auxiliary_dropout: float = 0.7
    dropout: float = 0.4
    initialization: str = "googlenet"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, dense: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels).
          train: drop out, run the auxiliary classifiers, and normalise by the batch's statistics,
            updating ``batch_stats``.
          dense: the fully convolutional form, on the same variables: 7 x 7 averages of the last
            map are taken at every position.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them.

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        name = f"this GoogLeNet{' with dense=True' if dense else ''}"
        check_images(images, self._least(7 if dense else 1), name)
        init = initialization(self.initialization)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        kinds: dict[str, Any] = {"dtype": self.dtype, "param_dtype": wide}
        statistics: dict[str, Any] = {"use_running_average": not train, "axis_name": self.axis_name}

        def convolution(x: jax.Array, features: int, size: int, name: str, stride: int = 1) -> Any:
            return nn.Conv(
                features,
                (size, size),
                strides=stride,
                padding=size // 2,
                use_bias=self.norm is None,
                kernel_init=init.convolution,
                bias_init=init.positive,
                conv_general_dilated=self.conv_general_dilated,
                **kinds,
                name=f"conv{name}",
            )(x)

        def layer(x: jax.Array, features: int, size: int, name: str, stride: int = 1) -> jax.Array:
            x = convolution(x, features, size, name, stride)
            if self.norm is not None:
                x = self.norm(**statistics, **kinds, name=f"bn{name}")(x)
            return Activation(nn.relu, name=f"relu{name}")(x)

        def pool(x: jax.Array, number: int, window: int = 3) -> jax.Array:
            edge: dict[str, Any] = {"padding": 1} if self.padded_pools else {"ceil": True}
            return MaxPool(window, 2, **edge, name=f"pool{number}")(x)

        def scaled(channels: int) -> int:
            return channels * self.width // 64

        if self.plain_stem:
            x = pool(convolution(images, self.width, 7, "1", stride=2), 1)
            x = pool(convolution(x, scaled(192), 3, "2"), 2)
        else:
            x = pool(layer(images, self.width, 7, "1", stride=2), 1)
            if self.lrn:
                x = LocalResponseNorm(name="norm1")(x)
            x = layer(x, self.width, 1, "2_reduce")
            x = layer(x, scaled(192), 3, "2")
            if self.lrn:
                x = LocalResponseNorm(name="norm2")(x)
            x = pool(x, 2)

        for number, channels in MODULES.items():
            if number == "4a":
                x = pool(x, 3)
            if number == "5a":
                x = pool(x, 4, self.last_pool)
            widths = tuple(scaled(c) for c in channels)
            x = Inception(widths, layer, self.size, name=f"inception_{number}")(x)
            if number in ("4a", "4d") and self.auxiliary and (train or self.is_initializing()):
                logits = Auxiliary(
                    self.num_classes,
                    self.width,
                    layer,
                    self.auxiliary_adaptive,
                    self.auxiliary_dropout,
                    init,
                    self.dtype,
                    self.axis_name,
                    name=f"aux_{number}",
                )(x, train=train)
                if not self.is_initializing():
                    self.sow("aux_logits", number, logits, reduce_fn=lambda _, last: last)

        x = sliding_average_pool(x, 7) if dense else adaptive_average_pool(x, 1)[:, 0, 0]
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="dropout")(x, train=train)
        return FullyConnected(
            self.num_classes, kernel_init=init.linear, dtype=wide, param_dtype=wide, name="logits"
        )(x)

    def _least(self, last: int) -> int:
        """The smallest image, of which the last module sees ``last`` rows."""
        rows = last
        for window in (self.last_pool, 3, 3, 3):
            rows = 2 * rows - (1 if self.padded_pools or window == 2 else 0)
        return 2 * rows - 1


# No activation in the stem, no auxiliary classifiers, pools that pad.
GoogLeNetPlainStem = functools.partial(
    GoogLeNet,
    plain_stem=True,
    padded_pools=True,
    auxiliary=False,
    initialization="he",
)
# torchvision's: BatchNorm with an epsilon of 1e-3, 3 x 3 where the paper has 5 x 5 (a fault that
# its weights keep), a last pool of 2 x 2, and less dropout.
GoogLeNetBN = functools.partial(
    GoogLeNet,
    lrn=False,
    norm=functools.partial(BatchNorm, epsilon=1e-3),
    size=3,
    last_pool=2,
    auxiliary_adaptive=True,
    dropout=0.2,
    initialization="he",
)

register("googlenet", GoogLeNet)
register("googlenet_plain_stem", GoogLeNetPlainStem)
register("googlenet_bn", GoogLeNetBN)
