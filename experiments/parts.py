"""The parts of a run: its devices, data, network and weights, found to fit one another."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.config import Experiment
from experiments.images import Data, open_data
from experiments.network import make_model
from experiments.start import load_weights, preprocessing_facts
from jaxcnn.errors import UserError
from jaxcnn.pretrained import Pretrained
from jaxcnn.training.devices import Layout, make_layout
from jaxcnn.training.optimizers import make_optimizer
from jaxcnn.training.steps import TrainState, create_state


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run is made of; nothing of it has been computed yet.

    Attributes:
      layout: its devices.
      data: its images.
      weights: the file of weights that it starts from, if it has one.
      model: the network, in one device's form.
      make_state: makes the state before the first step, from random parameters.
      shapes: the shapes of that state.
      facts: what must be the same of its data when it goes on, JSON-able.
    """

    layout: Layout
    data: Data
    weights: Pretrained | None
    model: nn.Module
    make_state: Callable[[], TrainState]
    shapes: TrainState
    facts: dict[str, Any]

    @property
    def state_bytes(self) -> int:
        """What the arrays of the state take, and so a checkpoint."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.shapes))


def make_parts(config: Experiment) -> Parts:
    """Opens the data and makes the network; nothing that takes long.

    Raises:
      UserError: one of them is not to be had, or does not fit another.
    """
    layout = make_layout(config.parallel, plainly=config.model.convolution == "xla")
    data = open_data(config, layout)
    config.check_length(data.train_batches.steps_per_epoch)
    weights = load_weights(config, data)
    if weights is None:
        model = make_model(config.model, num_classes=len(data.train.class_names))
    else:
        model = weights.model
    make_state = functools.partial(
        create_state,
        model,
        make_optimizer(config.optimizer),
        jnp.zeros((1, *data.image_shape), jnp.float32),
        seed=config.seed,
        averaged=(config.optimizer.ema, config.optimizer.polyak) != (None, None),
    )
    try:
        shapes = jax.eval_shape(make_state)
    except UserError as error:
        size = "x".join(map(str, data.image_shape))
        raise UserError(
            f"model.name={config.model.name} on images of {size} (data.image_size): {error}"
        ) from error
    config.optimizer.check_layers(shapes.params)
    config.parallel.check_layers(shapes.params)
    if config.train.exact_statistics and not shapes.batch_stats:
        raise UserError(
            f"train.exact_statistics={config.train.exact_statistics} is for networks with "
            f"BatchNorm, and model.name={config.model.name} has none; leave it at 0."
        )
    facts = data.facts() | preprocessing_facts(weights)
    return Parts(layout, data, weights, model, make_state, shapes, facts)
