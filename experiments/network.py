"""From the configuration to the network."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.models import cpu_convolution
from jaxcnn.training.devices import Layout
from jaxcnn.training.layer_patterns import check_expression

# The slope is that of the sources' VGG, the only network with a leaky ReLU.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "tanh": nn.tanh,
    "leaky_relu": functools.partial(nn.leaky_relu, negative_slope=0.2),
}


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
      activation: the non-linearity of AlexNet or VGG; 'leaky_relu' has a slope of 0.2 below zero.
      lrn: local response normalisation in AlexNet, VGG or GoogLeNet.
      norm_place: AlexNet's normalisation before its pools, as in the paper, or after them.
      pool_window: side of AlexNet's pools, two apart: 3 overlap, 2 lie side by side.
      groups: AlexNet's towers: 2, as in the paper, or 1.
      shortcut: a residual network's option where a block changes the map: 'A', 'B' or 'C'.
      auxiliary: GoogLeNet's two auxiliary classifiers.
      initialization: 'glorot', 'he', 'he_fan_out' (with normal linear weights of std 0.01), or a
        paper's own: 'lenet', 'alexnet', 'zfnet', 'vgg' (normal, variance 0.01), 'googlenet'.
      dtype: type of the computation; the parameters stay float32.
      convolution: how convolutions are computed, with the same numbers but for rounding: 'xla' as
        XLA does, without compiler options of ours, 'products' with them and by matrix products
        where XLA's CPU backend is slow, 'auto' by these on CPU and as XLA does elsewhere.
      weights: a file of weights that this network starts from: of torchvision, timm or Keras, or
        one of ours. It brings its normalisation; a head for other classes than the data's is
        replaced by a new one.
      initialize_from: the work directory of a finished or running training whose parameters and
        batch statistics (the best, else the newest) this one starts from; or its checkpoint.bucket.
      initialize_layers: regular expression of the layers taken from `initialize_from`; each must
        be there and have the same shapes.
    """

    name: str = "vgg16"
    num_classes: int | None = None
    width: int | None = None
    hidden: tuple[int, ...] | None = None
    pooled_size: int | None = None
    dropout: float | None = None
    activation: Literal["relu", "tanh", "leaky_relu"] | None = None
    lrn: bool | None = None
    norm_place: Literal["before_pool", "after_pool"] | None = None
    pool_window: Literal[2, 3] | None = None
    groups: Literal[1, 2] | None = None
    shortcut: Literal["A", "B", "C"] | None = None
    auxiliary: bool | None = None
    initialization: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    convolution: Literal["auto", "xla", "products"] = "auto"
    weights: str | None = None
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
        if self.weights is not None and self.initialize_from is not None:
            raise UserError(
                "model.weights and model.initialize_from both say what to start from; give one."
            )
        check_expression("model.initialize_layers", self.initialize_layers)


def number_of_classes(config: ModelConfig, num_classes: int) -> int:
    """The number of logits for data of so many classes.

    Raises:
      UserError: the configuration names fewer.
    """
    if config.num_classes is not None and config.num_classes < num_classes:
        raise UserError(
            f"model.num_classes={config.num_classes} is fewer than the {num_classes} classes of "
            "the data; leave it out, or give at least that many."
        )
    return config.num_classes or num_classes


_OPTIONAL = (
    "width",
    "hidden",
    "pooled_size",
    "dropout",
    "activation",
    "lrn",
    "norm_place",
    "pool_window",
    "groups",
    "shortcut",
    "auxiliary",
    "initialization",
)


def given_fields(config: ModelConfig) -> dict[str, Any]:
    """The fields of the network that the configuration sets, but for its classes."""
    given = {name: getattr(config, name) for name in _OPTIONAL}
    fields = {name: value for name, value in given.items() if value is not None}
    if config.activation is not None:
        fields["activation"] = ACTIVATIONS[config.activation]
    return {"dtype": jnp.dtype(config.dtype), **fields}


def make_model(config: ModelConfig, *, num_classes: int) -> nn.Module:
    """The Linen module, for data of so many classes.

    Raises:
      UserError: there is no such model, it has not the fields that are set, or it has fewer classes
        than the data.
    """
    classes, given = number_of_classes(config, num_classes), given_fields(config)
    model = models.create_model(config.name, num_classes=classes)
    # A preset may have set them for its own network, so all are named at once.
    missing = [name for name, value in given.items() if not _has(model, name, value)]
    if missing:
        unset = " ".join(f"--config.model.{name}=None" for name in missing)
        raise UserError(
            f"model '{config.name}' has no {' and no '.join(missing)}, which the preset or the "
            f"command sets; give {unset}."
        )
    return models.create_model(config.name, num_classes=classes, **given)


def on_devices(model: nn.Module, layout: Layout, convolution: str = "auto") -> nn.Module:
    """The network as the devices compute it: with their axis of pmap, and their convolutions."""
    by_products = convolution == "products" or (
        convolution == "auto" and layout.devices[0].platform == "cpu"
    )
    return model.clone(
        axis_name=layout.axis_name,
        conv_general_dilated=cpu_convolution.conv_general_dilated if by_products else None,
    )


def _has(model: nn.Module, name: str, value: Any) -> bool:
    """Whether a network has a field, and not another of the same name, as VGG's ``groups`` are."""
    if not hasattr(model, name):
        return False
    return isinstance(value, tuple) or not isinstance(getattr(model, name), tuple)
