"""VGG: very deep networks of small convolutions (Simonyan & Zisserman 2014, arXiv 1409.1556v6)."""

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
    BatchNorm,
    LocalResponseNorm,
    MaxPool,
    adaptive_average_pool,
    check_images,
    sliding_average_pool,
)
from jaxcnn.models.registry import register

# Groups of convolutions, each a width and its kernel sizes; a 2x2 max pool ends every group.
Groups = tuple[tuple[int, tuple[int, ...]], ...]

# The columns of Table 1, but for A-LRN, which is A with a field set.
CONFIGURATIONS: dict[str, Groups] = {
    "A": ((64, (3,)), (128, (3,)), (256, (3, 3)), (512, (3, 3)), (512, (3, 3))),
    "B": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3)), (512, (3, 3)), (512, (3, 3))),
    "C": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3, 1)), (512, (3, 3, 1)), (512, (3, 3, 1))),
    "D": ((64, (3, 3)), (128, (3, 3)), (256, (3, 3, 3)), (512, (3, 3, 3)), (512, (3, 3, 3))),
    "E": ((64, (3,) * 2), (128, (3,) * 2), (256, (3,) * 4), (512, (3,) * 4), (512, (3,) * 4)),
}


class VGG(nn.Module):
    """A VGG network, from images to logits.

    Attributes:
      groups: the convolutions, a row of ``CONFIGURATIONS``.
      num_classes: the number of logits.
      width: channels of the row's 64; the others scale with it.
      hidden: widths of the hidden fully connected layers.
      pooled_size: height and width of the map that the first fully connected layer sees: 7 is what
        five poolings leave of 224. Maps of another size are averaged to it.
      global_average: average each map to one value, in place of ``pooled_size`` squared.
      activation: follows every layer but the last.
      norm: makes the normalisation between convolution and activation, such as ``BatchNorm``.
      lrn: local response normalisation after the first convolution's activation (A-LRN).
      dropout: the probability of dropping each output of the hidden fully connected layers.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    groups: Groups = CONFIGURATIONS["D"]
    num_classes: int = 1000
    width: int = 64
    hidden: tuple[int, ...] = (4096, 4096)
    pooled_size: int = 7
    global_average: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    norm: Callable[..., nn.Module] | None = None
    lrn: bool = False
    dropout: float = 0.5
    initialization: str = "glorot"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False, dense: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels).
          train: drop out, and normalise by the batch's statistics, updating ``batch_stats``.
          dense: the fully convolutional form that the paper evaluates with (section 3.2), on the
            same variables: the fully connected layers are swept over the last map.

        Returns:
          Logits, shape (batch, num_classes), or if ``dense`` a map of them, shape (batch, height
          / 32 - 6, width / 32 - 6, num_classes), of which each position sees one 224 x 224 window
          (and, through the convolutions' padding, some of what is around it).

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        least = 2 ** len(self.groups) * (self.pooled_size if dense else 1)
        check_images(images, least, "this VGG with dense=True" if dense else "this VGG")
        init = initialization(self.initialization)
        param_dtype = jnp.promote_types(self.dtype, jnp.float32)
        convolution = functools.partial(
            nn.Conv,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=param_dtype,
            conv_general_dilated=self.conv_general_dilated,
        )

        x = images
        for i, (width, kernels) in enumerate(self.groups, start=1):
            channels = width * self.width // 64
            for j, size in enumerate(kernels, start=1):
                x = convolution(channels, (size, size), padding=size // 2, name=f"conv{i}_{j}")(x)
                if self.norm is not None:
                    x = self.norm(
                        use_running_average=not train,
                        axis_name=self.axis_name,
                        dtype=self.dtype,
                        param_dtype=param_dtype,
                        name=f"bn{i}_{j}",
                    )(x)
                x = Activation(self.activation, name=f"relu{i}_{j}")(x)
                if self.lrn and i == j == 1:
                    x = LocalResponseNorm(name="norm1")(x)
            x = MaxPool(name=f"pool{i}")(x)

        window = self.pooled_size
        if self.global_average:
            x = sliding_average_pool(x, window) if dense else adaptive_average_pool(x, 1)
            window = 1
        elif not dense:
            x = adaptive_average_pool(x, window)
        if not dense:
            x = x.reshape(x.shape[0], -1)

        return fully_connected_head(
            x,
            self.hidden,
            self.num_classes,
            first=len(self.groups) + 1,
            window=window,
            init=init,
            dropout=self.dropout,
            activation=self.activation,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )


VGG11 = functools.partial(VGG, groups=CONFIGURATIONS["A"])
VGG11LRN = functools.partial(VGG11, lrn=True)
VGG13 = functools.partial(VGG, groups=CONFIGURATIONS["B"])
VGG16C = functools.partial(VGG, groups=CONFIGURATIONS["C"])
VGG16 = functools.partial(VGG, groups=CONFIGURATIONS["D"])
VGG19 = functools.partial(VGG, groups=CONFIGURATIONS["E"])
VGG11BN = functools.partial(VGG11, norm=BatchNorm)
VGG13BN = functools.partial(VGG13, norm=BatchNorm)
VGG16CBN = functools.partial(VGG16C, norm=BatchNorm)
VGG16BN = functools.partial(VGG16, norm=BatchNorm)
VGG19BN = functools.partial(VGG19, norm=BatchNorm)
VGG16Average = functools.partial(
    VGG16,
    hidden=(),
    global_average=True,
    activation=functools.partial(nn.leaky_relu, negative_slope=0.2),
    dropout=0.0,
)
VGGSmall = functools.partial(VGG16, num_classes=2, width=16, hidden=(100, 20), dropout=0.0)

register("vgg11", VGG11)
register("vgg11_lrn", VGG11LRN)
register("vgg13", VGG13)
register("vgg16_1x1", VGG16C)
register("vgg16", VGG16)
register("vgg19", VGG19)
register("vgg11_bn", VGG11BN)
register("vgg13_bn", VGG13BN)
register("vgg16_1x1_bn", VGG16CBN)
register("vgg16_bn", VGG16BN)
register("vgg19_bn", VGG19BN)
register("vgg16_average", VGG16Average)
register("vgg_small", VGGSmall)
