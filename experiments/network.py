"""From the configuration to the network, and to the parameters that it starts from."""

import dataclasses
import re
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.training.layer_patterns import check_expression


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network, and which of its fields differ from its own; None leaves the network's own.

    Attributes:
      name: one of the registered names, such as 'vgg16' or 'vgg11_bn'.
      num_classes: classes; None for those of the data.
      width: channels of the first group of convolutions; all others scale with it.
      hidden: widths of the hidden fully connected layers.
      pooled_size: side of the map that the fully connected layers see.
      dropout: probability of dropping a hidden unit of the fully connected layers.
      initialization: 'glorot', 'he', 'he_fan_out' (with normal linear weights of std 0.01), or a
        paper's own: 'lenet', 'alexnet', 'zfnet', 'vgg' (normal, variance 0.01), 'googlenet'.
      dtype: type of the computation; the parameters stay float32.
      initialize_from: the work directory of a finished or running training whose parameters
        (the best, else the newest) this one starts from.
      initialize_layers: regular expression of the layers taken from `initialize_from`; each must
        be there and have the same shapes.
    """

    name: str = "vgg16"
    num_classes: int | None = None
    width: int | None = None
    hidden: tuple[int, ...] | None = None
    pooled_size: int | None = None
    dropout: float | None = None
    initialization: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    initialize_from: str | None = None
    initialize_layers: str = ".*"

    def check(self) -> None:
        """Raises a UserError for a model or a field that does not exist."""
        for name in ("num_classes", "width", "pooled_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"model.{name}={value} must be 1 or more.")
        if any(width < 1 for width in self.hidden or ()):
            raise UserError(f"model.hidden={self.hidden} holds a layer of no unit; give 1 or more.")
        make_model(self, num_classes=1)
        check_expression("model.initialize_layers", self.initialize_layers)


def make_model(config: ModelConfig, *, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """The Linen module.

    Args:
      config: which network.
      num_classes: classes of the data, where the configuration names none.
      axis_name: the axis of pmap; None under jit.

    Raises:
      UserError: there is no such model or field, or it has fewer classes than the data.
    """
    if config.num_classes is not None and config.num_classes < num_classes:
        raise UserError(
            f"model.num_classes={config.num_classes} is fewer than the {num_classes} classes of "
            "the data; leave it out, or give at least that many."
        )
    optional = ("width", "hidden", "pooled_size", "dropout", "initialization")
    given = {name: getattr(config, name) for name in optional}
    return models.create_model(
        config.name,
        num_classes=config.num_classes or num_classes,
        dtype=jnp.dtype(config.dtype),
        axis_name=axis_name,
        **{name: value for name, value in given.items() if value is not None},
    )


def initialize(params: Any, source: Any, layers: str) -> Any:
    """``params`` with the layers that match taken from ``source``.

    Args:
      params: a network's parameters, layers at the first level.
      source: those of another network.
      layers: a regular expression that matches whole layer names.

    Raises:
      UserError: no layer matches, or one that does is missing or of another shape in ``source``.
    """
    taken = [layer for layer in params if re.fullmatch(layers, layer)]
    if not taken:
        raise UserError(
            f"model.initialize_layers={layers} names none of the layers {', '.join(params)}."
        )
    for layer in taken:
        ours = jax.tree.map(jnp.shape, params[layer])
        theirs = jax.tree.map(jnp.shape, source.get(layer))
        if ours != theirs:
            raise UserError(
                f"layer {layer} is {ours} here and {theirs} in model.initialize_from; choose the "
                "layers that both have by model.initialize_layers."
            )
    return {**params, **{layer: source[layer] for layer in taken}}
