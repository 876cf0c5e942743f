"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998), as published and as it is usually written."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.typing import DTypeLike

from jaxcnn.errors import UserError
from jaxcnn.models.initialization import Initializer, initialization
from jaxcnn.models.layers import (
    Activation,
    AveragePool,
    Dropout,
    FullyConnected,
    adaptive_average_pool,
    check_images,
)
from jaxcnn.models.registry import register


class LeNet5(nn.Module):
    """LeNet-5 as it is usually written: tanh, plain averages, all maps of S2 into C3, linear end.

    Attributes:
      num_classes: the number of logits.
      width: channels of C1; the other layers scale with it.
      dropout: the probability of dropping each output of F6; the network had none.
      initialization: a name in ``jaxcnn.models.initialization``.
      dtype: of the computation. Parameters and logits are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 10
    width: int = 6
    dropout: float = 0.0
    initialization: str = "glorot"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: normalised, shape (batch, height, width, channels), 32 x 32 or larger; the last
            map of larger ones is averaged to the 5 x 5 that C5 sees.
          train: drop out.

        Returns:
          Logits, shape (batch, num_classes).

        Raises:
          UserError: the images are too small, or ``initialization`` is no known name.
        """
        check_images(images, 32, "LeNet-5")
        init = initialization(self.initialization)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        convolution = functools.partial(
            nn.Conv,
            conv_general_dilated=self.conv_general_dilated,
            padding=0,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=wide,
        )
        linear = functools.partial(FullyConnected, kernel_init=init.linear, param_dtype=wide)
        c3, c5, f6 = (features * self.width // 6 for features in (16, 120, 84))

        x = convolution(self.width, (5, 5), name="c1")(images)
        x = Activation(nn.tanh, name="tanh1")(x)
        x = AveragePool(name="s2")(x)
        x = convolution(c3, (5, 5), name="c3")(x)
        x = Activation(nn.tanh, name="tanh3")(x)
        x = AveragePool(name="s4")(x)
        x = convolution(c5, (5, 5), name="c5")(adaptive_average_pool(x, 5))
        x = Activation(nn.tanh, name="tanh5")(x)
        x = linear(f6, dtype=self.dtype, name="f6")(x.reshape(x.shape[0], -1))
        x = Activation(nn.tanh, name="tanh6")(x)
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="dropout6")(x, train=train)
        return linear(self.num_classes, dtype=wide, name="logits")(x)


# Table I: which of S2's six maps each of C3's sixteen takes, every three, then every four
# neighbours, four of those that leave a gap, and all.
C3_TABLE = (
    *(tuple((first + i) % 6 for i in range(3)) for first in range(6)),
    *(tuple((first + i) % 6 for i in range(4)) for first in range(6)),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# What F6 should look like for each digit, 7 x 12. The paper has its targets as a picture (figure 3)
# and not as numbers: these are our own drawings of that kind and size, not its pixels.
DIGITS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .####.. .....## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. ....##. .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ...##.. ..####. .##.##. ######. ######. ....##. .#####. .######
##...## ...##.. ..##... .....## .#..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. ##..... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##...## ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
"""


def squash(x: jax.Array) -> jax.Array:
    """The scaled hyperbolic tangent ``1.7159 tanh(2/3 x)``, which leaves ±1 (appendix A)."""
    return 1.7159 * jnp.tanh(x * (2 / 3))


def targets(num_classes: int) -> np.ndarray:
    """The centres of the RBF units, ±1, shape (num_classes, 84).

    The first ten are ``DIGITS``, row by row; any more are fixed codes drawn at random.
    """
    rows = [line.split() for line in DIGITS.split("\n") if line]
    pixels = np.array([[list(row[digit]) for row in rows] for digit in range(10)]) == "#"
    digits = np.where(pixels.reshape(10, 84), 1.0, -1.0)
    codes = np.random.default_rng(1998).choice([-1.0, 1.0], (max(num_classes - 10, 0), 84))
    return np.concatenate([digits, codes])[:num_classes]


class Subsampling(nn.Module):
    """A trainable sub-sampling: the sum of 2 x 2 inputs, by a coefficient and a bias to each map.

    Attributes:
      dtype: of the computation.
      param_dtype: of the parameters.
    """

    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Sub-samples ``x``, shape (batch, height, width, channels)."""
        maps = x.shape[-1:]
        # A unit has four inputs: ±2.4 / 4.
        coefficient = self.param("scale", _uniform(2.4 / 4), maps, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, maps, self.param_dtype)
        total = 4 * AveragePool(name="mean")(x)
        total, coefficient, bias = promote_dtype(total, coefficient, bias, dtype=self.dtype)
        return total * coefficient + bias


class PartialConvolution(nn.Module):
    """An unpadded convolution of 5 x 5 in which each output map sees some of the input maps.

    Attributes:
      table: the input maps of each output map.
      dtype: of the computation.
      param_dtype: of the parameters: ``kernel`` (5, 5, connections), in the table's order, and
        ``bias`` (outputs,).
    """

    table: tuple[tuple[int, ...], ...]
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves ``x``, shape (batch, height, width, channels)."""
        inputs = np.concatenate(self.table)
        counts = [len(row) for row in self.table]
        outputs = np.repeat(np.arange(len(self.table)), counts)
        bounds = 2.4 / (25 * np.repeat(counts, counts))
        kernel = self.param("kernel", _uniform(bounds), (5, 5, len(inputs)), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (len(self.table),), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        whole = jnp.zeros((5, 5, x.shape[-1], len(self.table)), kernel.dtype)
        whole = whole.at[:, :, inputs, outputs].set(kernel, unique_indices=True)
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, whole, (1, 1), "VALID", dimension_numbers=layout) + bias


class RadialBasis(nn.Module):
    """Minus the squared distance to fixed centres: the largest is the answer.

    Attributes:
      centres: shape (outputs, inputs); not trained.
    """

    centres: tuple[tuple[float, ...], ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """From shape (batch, inputs) to (batch, outputs).

        Raises:
          UserError: there is not one output, as of a network of no classes.
        """
        if not self.centres:
            raise UserError(f"layer '{self.name}' must have 1 output or more, not 0")
        return -jnp.sum((x[:, None, :] - jnp.array(self.centres, x.dtype)) ** 2, axis=-1)


class LeNet5Original(nn.Module):
    """LeNet-5 as published: 60,000 trainable parameters.

    C1, S2, C3 (each map sees some of S2's), S4, C5, F6, all squashed, and ten radial basis
    functions, of which the paper's network answers with the smallest; here the sign is turned.
    Its loss is ``jaxcnn.losses.maximum_a_posteriori``.

    Attributes:
      num_classes: the number of radial basis functions.
      dropout: the probability of dropping each output of F6; the network had none.
      dtype: of the computation. Parameters and distances are in float32 at least.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
      conv_general_dilated: computes the convolutions, as the function of ``lax`` does that it is
        in place of; ``jaxcnn.models.cpu_convolution`` has one.
    """

    num_classes: int = 10
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv_general_dilated: Callable[..., jax.Array] | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Classifies images.

        Args:
          images: shape (batch, height, width, channels), 32 x 32 or larger, the background at -0.1
            and the ink at 1.175; S4's maps of larger ones are averaged to the 5 x 5 that C5 sees.
          train: drop out.

        Returns:
          Minus the distances, shape (batch, num_classes).

        Raises:
          UserError: the images are too small.
        """
        check_images(images, 32, "LeNet-5")
        init = initialization("lenet")
        wide = jnp.promote_types(self.dtype, jnp.float32)
        kinds: dict[str, Any] = {"dtype": self.dtype, "param_dtype": wide}
        convolution = functools.partial(
            nn.Conv,
            conv_general_dilated=self.conv_general_dilated,
            padding=0,
            kernel_init=init.convolution,
            dtype=self.dtype,
            param_dtype=wide,
        )
        x = convolution(6, (5, 5), name="c1")(images)
        x = Activation(squash, name="squash1")(x)
        x = Subsampling(**kinds, name="s2")(x)
        x = Activation(squash, name="squash2")(x)
        x = PartialConvolution(C3_TABLE, **kinds, name="c3")(x)
        x = Activation(squash, name="squash3")(x)
        x = Subsampling(**kinds, name="s4")(x)
        x = Activation(squash, name="squash4")(x)
        x = convolution(120, (5, 5), name="c5")(adaptive_average_pool(x, 5))
        x = Activation(squash, name="squash5")(x)
        x = x.reshape(x.shape[0], -1)
        x = FullyConnected(84, kernel_init=init.linear, **kinds, name="f6")(x)
        x = Activation(squash, name="squash6")(x)
        if self.dropout:
            x = Dropout(self.dropout, self.axis_name, name="dropout6")(x, train=train)
        centres = tuple(map(tuple, targets(self.num_classes).tolist()))
        return RadialBasis(centres, name="logits")(x.astype(wide))


def _uniform(bound: float | np.ndarray) -> Initializer:
    """Uniform in ±bound, one for all or one for each parameter."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) * jnp.asarray(bound, dtype)

    return draw


register("lenet5", LeNet5, images=(32, 32, 1))
register("lenet5_1998", LeNet5Original, images=(32, 32, 1))
