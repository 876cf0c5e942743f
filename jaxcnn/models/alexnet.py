"""AlexNet (Krizhevsky, Sutskever & Hinton 2012), and what others made of it."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jaxcnn.errors import UserError
from jaxcnn.models.head import fully_connected_head
from jaxcnn.models.initialization import initialization
from jaxcnn.models.layers import (
    Activation,
    BatchNorm,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    check_images,
)
from jaxcnn.models.registry import register

# Which convolutions a max pool follows, and which see half of the maps in the paper's network,
# where they are also those that start with a positive bias.
POOLED, HALVED = (1, 2, 5), (2, 4, 5)


class AlexNet(nn.Module):
    """An AlexNet, from images to logits; as it stands, the paper's.

    Its two groups are the halves that lay on the authors' two GPUs: the second, fourth and fifth
    convolution see only the maps of their own half (section 3.5).

    Attributes:
      num_classes: the number of logits.
      widths: channels of the five convolutions.
      width: channels of the first convolution; the others scale with it. None: as in ``widths``.
      groups: of the second, fourth and fifth convolution: 2, or 1 for one tower.
      padding: pixels on every side of the image: 2 makes maps of 55 x 55 of 224 pixels, 0 of 227.
        ``'SAME'`` is TensorFlow's, one more at the bottom and right: 56 x 56 of 224.
      activation: follows every layer but the last.
      pool_window: height and width of a pool's window, of which the next begins two positions on:
        3, overlapping (section 3.4), or 2, side by side.
      lrn: local response normalisation of the first two convolutions.
      norm: makes another normalisation, such as ``BatchNorm``.
      norm_place: of either: ``'before_pool'``, after the convolutions' activation, the paper's
        order, or ``'after_pool'``, CaffeNet's, where there is a pool.
      hidden: widths of the hidden fully connected layers.
      pooled_size: height and width of the map that the first fully connected layer sees: 6 is what
        the pools leave of 224. Maps of another size are averaged to it. None: as they are.
      dropout: the probability of dropping an element around the hidden fully connected layers.
      drop_inputs: drop what enters those layers, not what leaves them.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 1000
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    width: int | None = None
    groups: int = 2
    padding: int | Literal["SAME"] = 2
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    pool_window: Literal[2, 3] = 3
    lrn: bool = True
    norm: Callable[..., nn.Module] | None = None
    norm_place: Literal["before_pool", "after_pool"] = "before_pool"
    hidden: tuple[int, ...] = (4096, 4096)
    pooled_size: int | None = 6
    dropout: float = 0.5
    drop_inputs: bool = False
    initialization: str = "alexnet"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, dense: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels).
          train: drop out, and normalise by the batch's statistics, updating ``batch_stats``.
          dense: the fully convolutional form, on the same variables: the fully connected layers
            are swept over the last map.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them.

        Raises:
          UserError: the images are too small, ``initialization`` is no known name, the groups
            cannot share the channels, or ``dense`` is asked for without a ``pooled_size``.
        """
        if dense and self.pooled_size is None:
            raise UserError("dense=True needs to know the size of fc6's window: set pooled_size")
        name = f"this AlexNet{' with dense=True' if dense else ''}"
        check_images(images, self._least(dense), name)
        init = initialization(self.initialization)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        convolution = functools.partial(
            nn.Conv,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=wide,
            conv_general_dilated=self.conv_general_dilated,
        )

        def normalize(x: jax.Array, i: int, place: str) -> jax.Array:
            if place != self.norm_place:
                return x
            if self.lrn and i <= 2:
                x = LocalResponseNorm(name=f"norm{i}")(x)
            if self.norm is not None:
                x = self.norm(
                    use_running_average=not train,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    param_dtype=wide,
                    name=f"bn{i}",
                )(x)
            return x

        x = images
        for i, (features, size) in enumerate(
            zip(self._channels(), (11, 5, 3, 3, 3), strict=True), 1
        ):
            x = convolution(
                features,
                (size, size),
                strides=4 if i == 1 else 1,
                padding=self.padding if i == 1 else size // 2,
                feature_group_count=self.groups if i in HALVED else 1,
                bias_init=init.positive if i in HALVED else nn.initializers.zeros,
                name=f"conv{i}",
            )(x)
            x = Activation(self.activation, name=f"relu{i}")(x)
            x = normalize(x, i, "before_pool")
            if i in POOLED:
                x = MaxPool(self.pool_window, 2, name=f"pool{i}")(x)
                x = normalize(x, i, "after_pool")

        if not dense:
            if self.pooled_size is not None:
                x = adaptive_average_pool(x, self.pooled_size)
            x = x.reshape(x.shape[0], -1)
        return fully_connected_head(
            x,
            self.hidden,
            self.num_classes,
            first=6,
            window=self.pooled_size or 1,
            init=init,
            dropout=self.dropout,
            drop_inputs=self.drop_inputs,
            activation=self.activation,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )

    def _channels(self) -> tuple[int, ...]:
        """The channels of the convolutions, which the groups must be able to share."""
        width = self.width or self.widths[0]
        channels = tuple(of_five * width // self.widths[0] for of_five in self.widths)
        if any(count % self.groups for count in channels):
            raise UserError(
                f"{self.groups} groups cannot share channels of {', '.join(map(str, channels))}, "
                f"which a width of {width} makes; give a multiple of {3 * self.groups}, or groups=1"
            )
        return channels

    def _least(self, dense: bool) -> int:
        """The smallest image, of which the last pool leaves one position, or fc6's window."""
        last = (self.pooled_size or 1) if dense else 1
        for _ in POOLED:
            last = 2 * (last - 1) + self.pool_window
        return 4 * (last - 1) + (1 if self.padding == "SAME" else 11 - 2 * self.padding)


# The paper's widths in one tower, whose convolutions see all maps, and nothing but ReLU between.
AlexNetOneTower = functools.partial(
    AlexNet, groups=1, padding=0, lrn=False, dropout=0.0, initialization="glorot"
)
# With Keras' BatchNorm in place of local response normalisation, after every convolution's ReLU.
AlexNetBN = functools.partial(
    AlexNetOneTower,
    norm=functools.partial(BatchNorm, epsilon=1e-3, momentum=0.99),
    pooled_size=None,
    dropout=0.5,
)
# The same after every pool.
AlexNetPoolBN = functools.partial(AlexNetBN, norm_place="after_pool", padding="SAME")
# "One weird trick for parallelizing convolutional neural networks" (Krizhevsky 2014, arXiv
# 1404.5997), whose weights torchvision publishes as its AlexNet.
AlexNetOWT = functools.partial(
    AlexNetOneTower, widths=(64, 192, 384, 256, 256), padding=2, dropout=0.5, drop_inputs=True
)

register("alexnet", AlexNet)
register("alexnet_one_tower", AlexNetOneTower, images=(227, 227, 3))
register("alexnet_bn", AlexNetBN, images=(227, 227, 3))
register("alexnet_pool_bn", AlexNetPoolBN)
register("alexnet_owt", AlexNetOWT)
