"""What diagonal Levenberg-Marquardt measures before each epoch: the curvature of the loss."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from experiments.config import Experiment
from experiments.images import Data
from jaxcnn.data.pipeline import TrainBatches
from jaxcnn.training.criteria import training_loss
from jaxcnn.training.devices import Layout
from jaxcnn.training.levenberg_marquardt import make_curvature, with_curvature
from jaxcnn.training.steps import Augment, TrainState


def curvature_measurer(
    config: Experiment, model: nn.Module, augment: Augment, layout: Layout, data: Data
) -> Callable[[TrainState, int], TrainState] | None:
    """A function of (state, epoch) that puts the curvature into the optimizer's state.

    It is measured on the first examples of the epoch's own order, and by one device of each
    process on all of them: it is the same however many there are. None where the optimizer has
    no use for it. ``augment`` knows no axis of pmap.
    """
    if config.optimizer.name != "levenberg_marquardt":
        return None
    batches = TrainBatches(
        data.train,
        config=config.data,
        augment=config.augment,
        batch_size=config.optimizer.curvature_examples,
        seed=config.seed,
    )
    measure = jax.jit(
        make_curvature(
            model.clone(axis_name=None, conv_general_dilated=None),
            augment,
            training_loss(config.train.loss, config.train.label_smoothing),
        )
    )

    def begin_epoch(state: TrainState, epoch: int) -> TrainState:
        first = epoch * batches.steps_per_epoch
        parts = {"params": state.params, "batch_stats": state.batch_stats}
        variables, opt_state = layout.fetch((parts, state.opt_state))
        curvature = jax.device_get(measure(variables, batches[first], np.int32(first)))
        opt_state = layout.distribute(with_curvature(opt_state, curvature))
        return dataclasses.replace(state, opt_state=opt_state)

    return begin_epoch
