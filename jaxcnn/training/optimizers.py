"""Optimizers as optax chains whose learning rate is given at each update.

The rate is an argument of ``update`` and not a part of the chain's state, because it is made of
two things: the schedule, a function of the step, and the reductions on plateaus, a part of the
training's state.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxcnn.errors import UserError

_NORM_PARAMETERS = ("scale", "bias")

# Which parameters the L2 penalty or weight decay applies to, by the name of the parameter.
DECAY_RULES: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "kernels": lambda name: name not in _NORM_PARAMETERS,
}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its constants.

    Attributes:
      name: 'momentum' (PyTorch's and optax's: v = m v + g, w = w - lr v); 'paper_momentum'
        (the papers' and Caffe's, the rate inside the velocity: v = m v + lr g, w = w - v; they
        differ when the rate changes); 'adam' (L2 in the gradient); 'adamw' (decoupled decay).
      learning_rate: the initial rate; the schedule's peak.
      momentum: the momentum of both momentum forms.
      weight_decay: the factor l of the gradient's l w (an L2 penalty of l/2 times the sum of
        squares); for 'adamw' the decoupled factor, multiplied by the rate.
      decay: which parameters decay: 'kernels' (neither biases nor BatchNorm's), or 'all'.
      b1: Adam's decay of the first moment.
      b2: Adam's decay of the second moment.
      epsilon: Adam's constant, added outside the square root.
      ema: decay per step of the moving average of the parameters that evaluation then uses; None
        for no average.
    """

    name: Literal["momentum", "paper_momentum", "adam", "adamw"] = "momentum"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay: Literal["all", "kernels"] = "kernels"
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    ema: float | None = None

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        if self.learning_rate <= 0:
            raise UserError(
                f"optimizer.learning_rate={self.learning_rate} would not train; give a "
                "positive number."
            )
        if self.weight_decay < 0:
            raise UserError(
                f"optimizer.weight_decay={self.weight_decay} is negative; give 0 or more."
            )
        for name in ("momentum", "b1", "b2", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"optimizer.{name}={value} must be at least 0 and below 1.")
        if self.epsilon <= 0:
            raise UserError(f"optimizer.epsilon={self.epsilon} must be positive.")


def decay_mask(rule: str, params: Any) -> Any:
    """A tree of bools like ``params``: which of them the named rule lets decay."""
    decays = DECAY_RULES[rule]
    return jax.tree_util.tree_map_with_path(lambda path, _: decays(path[-1].key), params)


def _scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies the updates by the ``learning_rate`` given to ``update``."""

    def update(
        updates: Any, state: Any, params: Any = None, *, learning_rate: Any, **_: Any
    ) -> Any:
        del params
        return jax.tree.map(lambda u: jnp.asarray(learning_rate, u.dtype) * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformationExtraArgs:
    """The chain; its ``update`` takes a keyword argument ``learning_rate``, a scalar."""
    decay: optax.GradientTransformation = optax.identity()
    if config.weight_decay:
        decay = optax.add_decayed_weights(
            config.weight_decay, mask=lambda params: decay_mask(config.decay, params)
        )
    moments = optax.scale_by_adam(config.b1, config.b2, config.epsilon)
    velocity = optax.trace(config.momentum)
    rate = _scale_by_given_rate()
    forms = {
        "momentum": (decay, velocity, rate),
        "paper_momentum": (decay, rate, velocity),
        "adam": (decay, moments, rate),
        "adamw": (moments, decay, rate),
    }
    return optax.chain(*forms[config.name], optax.scale(-1.0))
