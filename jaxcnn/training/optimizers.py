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
from jaxcnn.training.layer_patterns import (
    check_chooses,
    check_expression,
    chosen,
    chosen_leaves,
)
from jaxcnn.training.transformations import (
    add_velocity,
    divide_by_curvature,
    limit_filters,
    scale_by_adam,
    scale_by_given_rate,
)

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
        differ when the rate changes); 'adam' (L2 in the gradient); 'adamw' (decoupled decay);
        'levenberg_marquardt' (each parameter's rate is divided by `damping` and the curvature of
        the loss; LeCun et al. 1998, appendix C).
      learning_rate: the initial rate; the schedule's peak.
      momentum: the momentum of both momentum forms.
      weight_decay: the factor l of the gradient's l w (an L2 penalty of l/2 times the sum of
        squares); for 'adamw' the decoupled factor, multiplied by the rate.
      decay: which parameters decay: 'kernels' (neither biases nor BatchNorm's), or 'all'.
      decay_layers: regular expression of the layers whose parameters decay, of those that `decay`
        chooses; it matches as `freeze` does.
      b1: Adam's decay of the first moment.
      b2: Adam's decay of the second moment.
      epsilon: Adam's constant, added outside the square root.
      epsilon_hat: add `epsilon` to the root of the second moment before that is corrected for its
        start from zero, as Keras and TensorFlow do (the 'epsilon hat' of Kingma and Ba 2014,
        section 2); early steps are then shorter. PyTorch and optax correct first.
      damping: added to the curvature, for 'levenberg_marquardt'.
      curvature_examples: training examples that the curvature is measured on before each epoch,
        for 'levenberg_marquardt': the first of the epoch's own order.
      ema: decay per step of the moving average of the parameters that evaluation then uses; None
        for no average.
      polyak: epochs after which the parameters of every step are averaged, each with the same
        weight (Polyak and Juditsky 1992); evaluation then uses the average. None for no average;
        not together with `ema`.
      filter_rms: after every update, a filter of a convolution whose root mean square is above
        this is scaled back to it (0.1 of Zeiler and Fergus 2013, section 3); None for no limit.
      freeze: regular expression of the layers that stay as they are to the bit, their BatchNorm's
        statistics too, by which it then normalises. It matches whole names, such as
        'conv[1-4]_.*' or 'stage1/block2', and takes in what is in such a layer and the BatchNorm
        that is named after it. None: every layer trains.
      multipliers: multiples of the learning rate for some layers, as a list of PATTERN=MULTIPLE,
        such as 'logits=10,fc.*=2'; patterns are those of `freeze`, and the first that matches
        holds.
    """

    name: Literal["momentum", "paper_momentum", "adam", "adamw", "levenberg_marquardt"] = "momentum"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay: Literal["all", "kernels"] = "kernels"
    decay_layers: str = ".*"
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False
    damping: float = 0.02
    curvature_examples: int = 500
    ema: float | None = None
    polyak: int | None = None
    filter_rms: float | None = None
    freeze: str | None = None
    multipliers: tuple[str, ...] = ()

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
        if self.curvature_examples < 1:
            raise UserError(
                f"optimizer.curvature_examples={self.curvature_examples} must be 1 or more."
            )
        for name in ("epsilon", "damping", "filter_rms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"optimizer.{name}={value} must be positive.")
        if self.polyak is not None and self.polyak < 0:
            raise UserError(f"optimizer.polyak={self.polyak} is negative; give 0 or more epochs.")
        if self.polyak is not None and self.ema is not None:
            raise UserError(
                f"optimizer.polyak={self.polyak} and optimizer.ema={self.ema} are two averages of "
                "the parameters; set one of them to None."
            )
        check_expression("optimizer.decay_layers", self.decay_layers)
        if self.freeze is not None:
            check_expression("optimizer.freeze", self.freeze)
        for pattern in self.multiples():
            check_expression("optimizer.multipliers", pattern)

    def check_layers(self, params: Any) -> None:
        """Raises a UserError where a pattern fits no layer of a network's parameters."""
        for pattern in self.multiples():
            check_chooses("optimizer.multipliers", pattern, params)
        check_chooses("optimizer.decay_layers", self.decay_layers, params)
        if self.freeze is None:
            return
        check_chooses("optimizer.freeze", self.freeze, params)
        if all(jax.tree.leaves(chosen_leaves(self.freeze, params))):
            raise UserError(
                f"optimizer.freeze={self.freeze} leaves no layer to train; match fewer, such as "
                "conv.* does."
            )

    def multiples(self) -> dict[str, float]:
        """The multiples of the learning rate by pattern, in order.

        Raises:
          UserError: one of ``multipliers`` is not of the form PATTERN=MULTIPLE.
        """
        found: dict[str, float] = {}
        for text in self.multipliers:
            pattern, _, number = text.rpartition("=")
            try:
                multiple = float(number)
            except ValueError:
                multiple = 0.0
            if not pattern or not 0 < multiple < float("inf"):
                raise UserError(
                    f"optimizer.multipliers holds '{text}', which is not PATTERN=MULTIPLE with a "
                    "positive number, such as logits=10."
                )
            found.setdefault(pattern, multiple)
        return found


def decay_mask(rule: str, params: Any, layers: str = ".*") -> Any:
    """A tree of bools like ``params``: which of them, in ``layers``, the named rule lets decay."""
    decays = DECAY_RULES[rule]

    def of(keys: Any, _: Any) -> bool:
        return decays(keys[-1].key) and chosen(layers, [key.key for key in keys[:-1]])

    return jax.tree_util.tree_map_with_path(of, params)


def l2_penalty(config: OptimizerConfig, params: Any) -> jax.Array:
    """What weight decay adds to the loss: half the factor times the sum of squares of what decays.

    Frozen layers do not decay.
    """
    decays = decay_mask(config.decay, params, config.decay_layers)
    frozen = chosen_leaves(config.freeze, params)
    squares = jax.tree.map(
        lambda p, counts, stays: jnp.sum(jnp.square(p)) if counts and not stays else 0.0,
        params,
        decays,
        frozen,
    )
    return jnp.asarray(0.5 * config.weight_decay * sum(jax.tree.leaves(squares)))


def averaging(
    config: OptimizerConfig, steps_per_epoch: int
) -> Callable[[jax.Array], jax.Array | float] | None:
    """The weight of the parameters after an update in their average, a function of the step.

    ``ema`` gives it a constant. ``polyak`` gives 1 until its epoch and 1 / n to the n-th state
    after it, by which each of them has the same weight. None where there is no average.
    """
    if (decay := config.ema) is not None:
        return lambda step: 1 - decay
    if config.polyak is None:
        return None
    start = config.polyak * steps_per_epoch
    return lambda step: 1 / jnp.maximum(step + 1 - start, 1)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformationExtraArgs:
    """The chain; its ``update`` takes keyword arguments ``learning_rate`` and ``finite``, scalars.

    Where ``finite`` (True if left out) is False, its state stays as it is to the bit. It keeps no
    state of frozen parameters.
    """
    decay: optax.GradientTransformation = optax.identity()
    if config.weight_decay:
        decay = optax.add_decayed_weights(
            config.weight_decay,
            mask=lambda params: decay_mask(config.decay, params, config.decay_layers),
        )
    moments = scale_by_adam(config.b1, config.b2, config.epsilon, hat=config.epsilon_hat)
    velocity = add_velocity(config.momentum)
    rate = scale_by_given_rate(config.multiples())
    forms = {
        "momentum": (decay, velocity, rate),
        "paper_momentum": (decay, rate, velocity),
        "adam": (decay, moments, rate),
        "adamw": (moments, decay, rate),
        "levenberg_marquardt": (decay, divide_by_curvature(config.damping), rate),
    }
    limit = () if config.filter_rms is None else (limit_filters(config.filter_rms),)
    chain = optax.chain(*forms[config.name], optax.scale(-1.0), *limit)
    if config.freeze is None:
        return chain

    def labels(params: Any) -> Any:
        frozen = chosen_leaves(config.freeze, params)
        return jax.tree.map(lambda stays: "frozen" if stays else "trained", frozen)

    return optax.partition({"trained": chain, "frozen": optax.set_to_zero()}, labels)
