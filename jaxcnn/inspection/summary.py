"""What a network is made of, layer by layer: shapes, parameters, multiply-adds, memory, fields.

Of any Linen network, from traces of it: nothing is computed, and no parameter is drawn.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.inspection.extents import ReceptiveField
from jaxcnn.inspection.summary_text import summary_text, times
from jaxcnn.inspection.tracing import Call, calls

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of a layer.

    Attributes:
      name: its path, as ``models.feature_names`` has it; of the network itself, its class.
      kind: its class.
      output_shape: without the batch.
      parameters: that are trained; 0 if an earlier call of the layer has them already.
      not_trained: other variables, such as the running statistics of BatchNorm.
      multiply_adds: for one image, in evaluation.
      output_bytes: of one image's output.
      field: the part of the image that each unit sees; None where units see parts of several sizes
        or unevenly apart, as those of an adaptive pool do.
      training_only: whether evaluation leaves it out, as it does auxiliary classifiers.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    not_trained: int
    multiply_adds: int
    output_bytes: int
    field: ReceptiveField | None
    training_only: bool


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a network, in the order in which they are computed, and their totals.

    Attributes:
      name: of the network.
      image_shape: height, width and channels of an image.
      batch_size: of the memory.
      layers: those that have variables, multiply-adds, or no layers inside them.
      parameter_bytes: of what is trained.
    """

    name: str
    image_shape: tuple[int, int, int]
    batch_size: int
    layers: tuple[Layer, ...]
    parameter_bytes: int

    @property
    def parameters(self) -> int:
        """How many parameters are trained."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def not_trained(self) -> int:
        """How many other variables there are."""
        return sum(layer.not_trained for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For one image, in evaluation."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def input_bytes(self) -> int:
        """Of a batch of images, in float32."""
        return 4 * self.batch_size * math.prod(self.image_shape)

    @property
    def activation_bytes(self) -> int:
        """Of what training keeps of a batch: the outputs of all layers, and as many gradients.

        torchsummary counts so. A compiler keeps less: it fuses, and frees what is used.
        """
        return 2 * self.batch_size * sum(layer.output_bytes for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        """Of images, activations and parameters together."""
        return self.input_bytes + self.activation_bytes + self.parameter_bytes

    def record(self) -> dict[str, Any]:
        """All of it, of what JSON knows; sizes are in bytes, fields in pixels."""
        totals = (
            "parameters",
            "not_trained",
            "multiply_adds",
            "input_bytes",
            "activation_bytes",
            "parameter_bytes",
            "total_bytes",
        )
        layers = [
            {
                **vars(layer),
                "output_shape": list(layer.output_shape),
                "field": layer.field and layer.field._asdict(),
            }
            for layer in self.layers
        ]
        return {
            "network": self.name,
            "image_shape": list(self.image_shape),
            "batch_size": self.batch_size,
            "layers": layers,
            **{name: getattr(self, name) for name in totals},
        }

    def text(self) -> str:
        """A table of the layers, and the totals under it; MB are 2^20 bytes."""
        return summary_text(self)


def summarize(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    batch_size: int = 1,
    *,
    name: str | None = None,
) -> Summary:
    """Describes a network.

    Args:
      model: any Linen module whose call takes images and evaluates by default.
      image_shape: height, width and channels of an image.
      batch_size: of the memory.
      name: what to call the network; without, by its class.

    Raises:
      UserError: a size is not 1 or more, or the network does not take such images.
    """
    if min(*image_shape, batch_size) < 1:
        raise UserError(
            f"an image of {times(image_shape)} in a batch of {batch_size}: all must be 1 or more."
        )
    if getattr(model, "conv_general_dilated", None) is not None:
        model = model.clone(conv_general_dilated=None)  # as it computes them, but not as one does
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    initialized, variables = calls(model.init, jax.eval_shape(lambda: jax.random.key(0)), images)
    evaluated, _ = calls(model.apply, variables, images)
    made = _in_order(initialized, evaluated)
    owned = _owned(variables, [call.path for call, _ in made])
    layers = []
    for call, training_only in made:
        own = owned.get(call.path, ())
        if not own and call.calls and (training_only or not call.multiply_adds):
            continue
        layers.append(_layer(call, owned.pop(call.path, ()), training_only))
    trained = jax.tree.leaves(variables.get("params", {}))
    return Summary(
        name or type(model).__name__,
        image_shape,
        batch_size,
        tuple(layers),
        sum(leaf.size * leaf.dtype.itemsize for leaf in trained),
    )


def _in_order(initialized: Iterable[Call], evaluated: Iterable[Call]) -> list[tuple[Call, bool]]:
    """Each call of evaluation, and those that it leaves out, with whether it does."""
    left = list(evaluated)
    paths = {call.path for call in left}
    made = []
    for call in initialized:
        if call.path not in paths:
            made.append((call, True))
            continue
        while left:
            made.append((left.pop(0), False))
            if made[-1][0].path == call.path:
                break
    return made + [(call, False) for call in left]


def _owned(variables: Any, paths: Iterable[Path]) -> dict[Path, list[tuple[str, int]]]:
    """The variables of each layer: their collection and their size, by the layer's path."""
    known = set(paths)
    owned: dict[Path, list[tuple[str, int]]] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        collection, *path = (key.key for key in keys)
        while tuple(path) not in known:
            path.pop()
        owned.setdefault(tuple(path), []).append((collection, leaf.size))
    return owned


def _layer(call: Call, own: Iterable[tuple[str, int]], training_only: bool) -> Layer:
    return Layer(
        name="/".join(call.path) or call.kind,
        kind=call.kind,
        output_shape=call.output.shape[1:],
        parameters=sum(size for collection, size in own if collection == "params"),
        not_trained=sum(size for collection, size in own if collection != "params"),
        multiply_adds=0 if training_only else call.multiply_adds,
        output_bytes=math.prod(call.output.shape) * call.output.dtype.itemsize,
        field=call.field,
        training_only=training_only,
    )
