"""Layers that the networks share and Linen lacks, or has in another form.

What a network computes between its inputs and its logits is a module wherever a paper names it,
even where it has no parameters: a module's path is its name, in checkpoints and as a feature.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.typing import DTypeLike

from jaxcnn.errors import UserError
from jaxcnn.models.initialization import Initializer


class Activation(nn.Module):
    """A function of each element, as a layer with a name.

    Attributes:
      function: from an array to an array of the same shape.
    """

    function: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the function to each element of ``x``."""
        return self.function(x)


class BatchNorm(nn.BatchNorm):
    """Batch normalisation (Ioffe & Szegedy 2015) with the constants of PyTorch's.

    PyTorch's momentum of 0.1 weighs the new statistic, this 0.9 the old one. The variance is
    the mean squared distance from the mean, which does not cancel as E[x²] - E[x]² does.
    Statistics are kept and computed in float32, or in float64 if ``param_dtype`` is.
    """

    momentum: float = 0.9
    use_fast_variance: bool = False

    def __post_init__(self) -> None:
        # Forced to float32, the running statistics would turn into float64 at the first update.
        self.force_float32_reductions = jnp.dtype(self.param_dtype) != jnp.float64
        super().__post_init__()


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose mask is that of the global batch on every layout.

    Each element is zeroed with probability ``rate``, the others divided by ``1 - rate``. Under
    ``jit``, on any mesh, the batch seen here is the global one. Under ``pmap`` it is a device's
    share: given the same key, every device draws the mask of the whole batch and takes its rows.

    Attributes:
      rate: the probability of an element to be zeroed, in [0, 1).
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Drops elements of ``x``, shape (batch, ...), when ``train``, by the stream 'dropout'.

        Raises:
          UserError: the rate is not in [0, 1).
        """
        if not 0 <= self.rate < 1:
            raise UserError(f"dropout must be at least 0 and less than 1, not {self.rate}")
        if not train or self.rate == 0 or self.is_initializing():
            return x
        key, keep = self.make_rng("dropout"), 1 - self.rate
        if self.axis_name is None:
            mask = jax.random.bernoulli(key, keep, x.shape)
        else:
            rows = x.shape[0]
            whole = (lax.axis_size(self.axis_name) * rows, *x.shape[1:])
            mask = lax.dynamic_slice_in_dim(
                jax.random.bernoulli(key, keep, whole), lax.axis_index(self.axis_name) * rows, rows
            )
        return jnp.where(mask, x / keep, 0)


class FullyConnected(nn.Module):
    """A linear layer over a window of a map, given the window alone or swept over a larger map.

    One kernel, shape (window * window * channels, features) with its rows in the order height,
    width, channel, serves both: multiplied, or reshaped to a convolution without padding
    (Simonyan & Zisserman 2014, section 3.2; Sermanet et al. 2014).

    Attributes:
      features: the number of outputs.
      window: height and width of the window, in positions of the map.
      kernel_init: draws the kernel.
      bias_init: draws the bias.
      dtype: of the computation and of the output.
      param_dtype: of the parameters.
    """

    features: int
    window: int = 1
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer.

        Args:
          x: flattened windows, shape (batch, window * window * channels), or maps, shape
            (batch, height, width, channels).

        Returns:
          Shape (batch, features), or (batch, height - window + 1, width - window + 1, features).

        Raises:
          UserError: there is not one output, as of a network of no classes.
        """
        if self.features < 1:
            raise UserError(f"layer '{self.name}' must have 1 output or more, not {self.features}")
        swept = x.ndim == 4
        inputs = self.window**2 * x.shape[-1] if swept else x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if not swept:
            return x @ kernel + bias
        kernel = kernel.reshape(self.window, self.window, x.shape[-1], self.features)
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout) + bias


class LocalResponseNorm(nn.Module):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    ``b_i = a_i / (k + alpha * sum of a_j² over the n channels around i) ** beta``. As in the paper
    and in TensorFlow, ``alpha`` is not divided by ``n``; PyTorch and Caffe divide it.

    Attributes:
      n: channels in the sum, those beyond the first and last counting as zero.
      k: added to the sum, so that it is never zero.
      alpha: weight of the sum.
      beta: exponent.
    """

    n: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x``, shape (..., channels)."""
        # In bfloat16 k + alpha * sum would round to k: the sum is made in float32 at least.
        squares = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
        margins = [(0, 0)] * (x.ndim - 1) + [(self.n // 2, (self.n - 1) // 2)]
        padded, channels = jnp.pad(squares, margins), x.shape[-1]
        total = sum(padded[..., i : i + channels] for i in range(self.n))
        return (x / (self.k + self.alpha * total) ** self.beta).astype(x.dtype)


class MaxPool(nn.Module):
    """Max pooling.

    It is the maximum of strided slices, not ``lax.reduce_window``, whose gradient (select and
    scatter) is many times slower on CPU and has no deterministic form on GPU. The two differ
    only where elements tie: the gradient is shared between them, not given to the first.

    Attributes:
      window: height and width of the window.
      stride: rows and columns from one window to the next.
      padding: rows and columns of minus infinity on every side.
      ceil: rows and columns that fill no whole window make one more of their own, as in Caffe and
        in PyTorch's ``ceil_mode``, if it begins within the map or the padding before it. Without,
        they are left out.
    """

    window: int = 2
    stride: int = 2
    padding: int = 0
    ceil: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pools ``x``, shape (batch, height, width, channels)."""
        return self.pooled(x)

    def pooled(
        self,
        x: jax.Array,
        larger: Callable[[jax.Array, jax.Array], jax.Array] = jnp.maximum,
    ) -> jax.Array:
        """Pools ``x`` by a maximum of two arrays, which decides where a tie's gradient goes."""
        for axis in (1, 2):
            length = x.shape[axis] + 2 * self.padding
            count = (length - self.window) // self.stride + 1
            if self.ceil and count * self.stride < length - self.padding:
                count += (length - self.window) % self.stride > 0
            last = (count - 1) * self.stride + self.window
            if self.padding or last > x.shape[axis]:
                margins = [(0, 0)] * x.ndim
                margins[axis] = (self.padding, max(last - self.padding - x.shape[axis], 0))
                x = jnp.pad(x, margins, constant_values=-jnp.inf)
            x = functools.reduce(larger, _slices(x, self.window, self.stride, count, axis))
        return x


class AveragePool(nn.Module):
    """Average pooling without padding; rows and columns that fill no window are left out.

    Attributes:
      window: height and width of the window.
      stride: rows and columns from one window to the next.
    """

    window: int = 2
    stride: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pools ``x``, shape (batch, height, width, channels)."""
        for axis in (1, 2):
            count = (x.shape[axis] - self.window) // self.stride + 1
            slices = _slices(x, self.window, self.stride, count, axis)
            x = functools.reduce(jnp.add, slices) / self.window
        return x


def _slices(x: jax.Array, window: int, stride: int, count: int, axis: int) -> list[jax.Array]:
    """The first elements of ``count`` windows along an axis, the second ones, and so on."""
    span = (count - 1) * stride + 1
    return [lax.slice_in_dim(x, i, i + span, stride, axis) for i in range(window)]


def check_images(images: jax.Array, least: int, network: str) -> None:
    """Refuses what a network cannot take.

    Args:
      images: should have the shape (batch, height, width, channels).
      least: the smallest height and width, in pixels.
      network: what to call it.

    Raises:
      UserError: another number of axes, or smaller images.
    """
    if images.ndim != 4:
        raise UserError(
            f"images must have the shape (batch, height, width, channels), not {images.shape}"
        )
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise UserError(
            f"images of {height} x {width} are too small for {network}: give {least} x {least} at "
            "least"
        )


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """Averages maps of any size, shape (batch, height, width, channels), to size x size.

    Row ``i`` is the mean of rows ``floor(i * height / size)`` to ``ceil((i + 1) * height / size)``,
    as in torch's ``AdaptiveAvgPool2d``: windows overlap where the sizes do not divide, and repeat
    rows where the map is smaller than ``size``. It is the identity on a map of that size.
    """

    def windows(length: int) -> list[range]:
        return [range(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]

    if x.shape[1:3] == (size, size):
        return x
    return _window_means(x, windows(x.shape[1]), windows(x.shape[2]))


def sliding_average_pool(x: jax.Array, window: int) -> jax.Array:
    """The means of every window x window square of maps, one position apart, without padding."""

    def windows(length: int) -> list[range]:
        return [range(i, i + window) for i in range(length - window + 1)]

    return _window_means(x, windows(x.shape[1]), windows(x.shape[2]))


def _window_means(x: jax.Array, rows: Sequence[range], columns: Sequence[range]) -> jax.Array:
    """Means over all pairs of a window of rows and a window of columns, by two matrix products."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def weights(windows: Sequence[range], length: int) -> np.ndarray:
        matrix = np.zeros((len(windows), length), dtype)
        for row, window in zip(matrix, windows, strict=True):
            row[window.start : window.stop] = 1 / len(window)
        return matrix

    means = jnp.einsum(
        "oh,nhwc,pw->nopc",
        weights(rows, x.shape[1]),
        x.astype(dtype),
        weights(columns, x.shape[2]),
        precision=lax.Precision.HIGHEST,
    )
    return means.astype(x.dtype)
