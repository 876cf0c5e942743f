"""How other libraries name a network's parameters, and lay them out."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.models import create_model, list_models
from jaxcnn.models.layers import BatchNorm
from jaxcnn.preprocessing import Preprocessing

Path = tuple[str, ...]
"""Of an array in our variables, such as ``('params', 'conv1_1', 'kernel')``."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TorchKernel:
    """PyTorch's kernels: outputs, inputs, height, width; ours: height, width, inputs, outputs.

    A fully connected layer of ours is a matrix (height * width * channels, outputs), whatever it
    follows; PyTorch flattens a map in the order channel, height, width. The wrong order has the
    same shape.

    Attributes:
      window: height and width of the map that a fully connected layer sees.
      matrix: theirs is a matrix too, (outputs, channels * height * width).
    """

    window: int = 1
    matrix: bool = False

    def their_shape(self, shape: Shape) -> Shape:
        """Of their array, from the shape of ours."""
        outputs, inputs, height, width = self._split(shape)
        if self.matrix:
            return (outputs, inputs * height * width)
        return (outputs, inputs, height, width)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Their array, from ours."""
        outputs, inputs, height, width = self._split(array.shape)
        kernel = array.reshape(height, width, inputs, outputs).transpose(3, 2, 0, 1)
        return kernel.reshape(self.their_shape(array.shape))

    def to_ours(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Our array of that shape, from theirs."""
        return array.reshape(self._split(shape)).transpose(2, 3, 1, 0).reshape(shape)

    def _split(self, shape: Shape) -> tuple[int, int, int, int]:
        """Outputs, inputs, height and width, from the shape of our array."""
        if len(shape) == 4:
            return shape[3], shape[2], shape[0], shape[1]
        return shape[1], shape[0] // self.window**2, self.window, self.window


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of ours and where it is in their files.

    Attributes:
      path: of our array.
      key: of theirs.
      layout: of theirs, where it differs from ours.
      bias: the key of the bias of the convolution before a BatchNorm whose running mean this is,
        where our convolution has none.
    """

    path: Path
    key: str
    layout: TorchKernel | None = None
    bias: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all that is read for our array."""
        return (self.key,) if self.bias is None else (self.key, self.bias)

    def their_shape(self, shape: Shape) -> Shape:
        """Of their array, and of the bias, from the shape of ours."""
        return shape if self.layout is None else self.layout.their_shape(shape)

    def to_ours(self, tensors: Mapping[str, np.ndarray], shape: Shape) -> np.ndarray:
        """Our array of that shape, from their arrays by key."""
        array = tensors[self.key]
        if self.bias is not None:
            # Exact: (x + bias) - mean = x - (mean - bias). In training the batch's mean takes the
            # bias away as well, so that nothing is lost for good.
            array = array - tensors[self.bias]
        return array if self.layout is None else self.layout.to_ours(array, shape)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Their array, from ours."""
        return array if self.layout is None else self.layout.to_theirs(array)


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names and layouts of one library, for the networks that it has.

    Attributes:
      name: of the library.
      networks: of ours, by registered name, that it has, and the fields that they have to be
        created with for its weights. Empty: it has all.
      entries: every array of such a network, from the first layer to the last.
      preprocessing: what its published weights of such a network were trained for.
      headless: files may be without the fully connected layers.
    """

    name: str
    networks: Mapping[str, Mapping[str, Any]]
    entries: Callable[[Any], Iterable[Entry]]
    preprocessing: Callable[[nn.Module], Preprocessing | None] = lambda model: None
    headless: bool = False

    def covers(self, model: nn.Module) -> bool:
        """Whether the library has this very network: one that computes the same in evaluation."""
        registered = (create_model(name, **fields) for name, fields in self.networks.items())
        return not self.networks or any(
            type(model) is type(other) and FREE_FIELDS.issuperset(differing_fields(model, other))
            for other in registered
        )


# Those that change nothing but shapes, or matter in training alone.
FREE_FIELDS = {
    "num_classes", "width", "hidden", "auxiliary", "dropout", "auxiliary_dropout",
    "initialization", "dtype", "axis_name", "conv_general_dilated",
}  # fmt: skip


def differing_fields(model: nn.Module, other: nn.Module) -> tuple[str, ...]:
    """The fields in which two networks differ; all of them where they are of different classes."""
    names = tuple(f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name"))
    if type(model) is not type(other):
        return names
    return tuple(
        name
        for name in names
        if _comparable(getattr(model, name)) != _comparable(getattr(other, name))
    )


def _comparable(value: Any) -> Any:
    """What makes a BatchNorm as what it makes, since partials are equal only to themselves."""
    if getattr(value, "func", value) is BatchNorm:
        return value(momentum=0.0)  # which matters in training alone
    return value


def registered_name(model: nn.Module) -> str:
    """The registered name of a network, or of the one that differs in the fewest fields."""
    return min(list_models(), key=lambda name: len(differing_fields(model, create_model(name))))


def variable_shapes(
    model: nn.Module, in_channels: int = 3, rows: int | None = None
) -> dict[Path, jax.ShapeDtypeStruct]:
    """The shape and type of every array that ``model.init`` makes; nothing is computed.

    Args:
      model: the network.
      in_channels: of the images.
      rows: of the kernel of ``fc6``, which say the size of the images where the network does not
        average to ``pooled_size``. None: what 224 x 224 gives.
    """
    if rows is not None and getattr(model, "pooled_size", 0) is None:
        channels = variable_shapes(model)["params", "conv5", "kernel"].shape[-1]
        model = model.clone(pooled_size=max(math.isqrt(rows // channels), 1))
    return _shapes(model, in_channels)


@functools.lru_cache(maxsize=128)  # a second to trace ResNet-152
def _shapes(model: nn.Module, in_channels: int) -> dict[Path, jax.ShapeDtypeStruct]:
    images = jax.ShapeDtypeStruct((1, 224, 224, in_channels), jnp.float32)
    return flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images))


class _StemFound(Exception):  # noqa: N818 - it is no error: it ends a forward pass early
    """The first layer with a kernel has been called."""


@functools.lru_cache(maxsize=128)
def stem_path(model: nn.Module) -> Path:
    """Of the kernel that sees the images, in our variables."""

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        output = method(*args, **kwargs)
        if context.module.has_variable("params", "kernel"):
            raise _StemFound(context.module.path)
        return output

    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    try:
        with nn.intercept_methods(interceptor):
            jax.eval_shape(model.init, jax.random.key(0), images)
    except _StemFound as found:
        return ("params", *found.args[0], "kernel")
    raise ValueError("the network has no layer with a kernel")


OURS = Naming(
    "jaxcnn",
    {},
    lambda model: [Entry(path, "/".join(path[1:])) for path in variable_shapes(model)],
)
"""Our own names, ``'conv1_1/kernel'``, in our own layout."""
