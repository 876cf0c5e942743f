"""The training and the evaluation step: pure functions of (state, batch) that know no devices.

A batch is a dict of arrays: ``image`` ``(n, h, w, c)`` uint8, ``label`` ``(n,)`` int32, ``index``
``(n,)`` int32 (the example's place in its source), ``weight`` ``(n,)`` float32 (1, or 0 for what
does not count).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from jaxcnn.losses import cross_entropy
from jaxcnn.randomness import Purpose, device_key
from jaxcnn.training.gradients import Loss, kept, make_gradients
from jaxcnn.training.layer_patterns import chosen_leaves
from jaxcnn.training.left_out import LeftOut, all_finite, chosen_by
from jaxcnn.training.metrics import ClassSums, Sums, measure, measure_classes
from jaxcnn.training.schedules import Monitor

Batch = Mapping[str, jax.Array]
# From uint8 images to what the network takes.
Prepare = Callable[[jax.Array], jax.Array]
# From a batch and the step to what the network takes in training, and its targets: whole numbers,
# shape (n,), or distributions over the classes, shape (n, classes).
Augment = Callable[[Batch, jax.Array], tuple[jax.Array, jax.Array]]


@struct.dataclass
class TrainState:
    """All that training carries from step to step, and all that a checkpoint holds.

    Attributes:
      step: int32, steps done: updates made, and left out.
      params: the network's parameters, float32 (float64 for a float64 network).
      batch_stats: BatchNorm's running means and variances; empty without BatchNorm.
      opt_state: optax's state.
      ema: the average of the parameters, a moving one or Polyak's; None where not asked for.
      window: training metrics since the last record.
      epoch: training metrics since the start of the epoch.
      left_out: the updates that were not finite; the metrics know nothing of them.
      evaluated: int32, epochs whose evaluation is part of this state.
      plateau: what the reductions of the learning rate remember.
      stopping: what early stopping and the best checkpoint remember.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    window: Sums
    epoch: Sums
    left_out: LeftOut
    evaluated: jax.Array
    plateau: Monitor
    stopping: Monitor

    def variables(self) -> dict[str, Any]:
        """What evaluation applies the network to: the averaged parameters where there are any."""
        params = self.params if self.ema is None else self.ema
        return {"params": params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    images: jax.Array,
    *,
    seed: int,
    averaged: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      model: the network.
      optimizer: its optax chain.
      images: prepared images ``(n, h, w, c)``, for their shape alone.
      seed: the run's seed.
      averaged: keep an average of the parameters.
    """
    variables = model.init(device_key(seed, Purpose.INITIALIZATION), images, train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        # A copy: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, params) if averaged else None,
        window=Sums.zeros(),
        epoch=Sums.zeros(),
        left_out=LeftOut.none(),
        evaluated=jnp.zeros((), jnp.int32),
        plateau=jax.tree.map(jnp.asarray, Monitor.fresh()),
        stopping=jax.tree.map(jnp.asarray, Monitor.fresh()),
    )


def _total(tree: Any, axis_name: str | None) -> Any:
    """The sum over the devices of pmap; under jit a sum is over the global batch already."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformationExtraArgs,
    learning_rate: Callable[[jax.Array], jax.Array],
    augment: Augment,
    *,
    seed: int,
    steps_per_epoch: int,
    log_every: int,
    loss: Loss = cross_entropy,
    plateau_factor: float = 1.0,
    average: Callable[[jax.Array], jax.Array | float] | None = None,
    auxiliary_weight: float = 0.3,
    freeze: str | None = None,
    accumulate: int = 1,
    remat: bool = False,
    axis_name: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The function of one update.

    The loss is the mean of ``loss`` over the examples of the *global* batch that count. To it is
    added that of each auxiliary classifier of the network, whose logits are in its collection
    ``aux_logits``; the metrics in the state are those of the network's own logits.

    Where the loss, a gradient or a running statistic is infinite or NaN, the update is left out on
    every device: nothing of the state changes but the step and what is ``left_out``.

    Args:
      model: the network, with the same ``axis_name``.
      optimizer: a chain of ``jaxcnn.training.optimizers``.
      learning_rate: the schedule, a function of the step.
      augment: augmentation on the device and normalisation.
      seed: the run's seed, for the dropout masks.
      steps_per_epoch: when the epoch's metrics start again from nothing.
      log_every: when, besides, the window's metrics start again from nothing.
      loss: of each example; the accuracies in the state are by the batch's own labels.
      plateau_factor: what each reduction on a plateau multiplies the rate by.
      average: the weight of the new parameters in the average that the state then holds, a
        function of the step; None for no average.
      auxiliary_weight: of each auxiliary classifier's loss in the whole.
      freeze: the optimizer's pattern of layers that stay as they are.
      accumulate: in how many parts, in turn, the batch is differentiated.
      remat: compute again for the backward pass what the forward pass would leave for it.
      axis_name: the axis of pmap; None under jit.

    Returns:
      A function of (state, batch) that gives the next state and the step's ``loss`` (nats, all of
      it), ``learning_rate`` and ``finite`` (whether the update was made).
    """
    gradients_of = make_gradients(
        model,
        loss,
        seed=seed,
        auxiliary_weight=auxiliary_weight,
        freeze=freeze,
        accumulate=accumulate,
        remat=remat,
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        images, targets = augment(batch, state.step)
        labels, weights = batch["label"], batch["weight"]
        counted = jnp.maximum(_total(jnp.sum(weights), axis_name), 1.0)
        share = gradients_of(state, images, targets, weights, counted)
        total, gradients = _total((share.total, share.params), axis_name)
        # All of them are of the global batch by now, so that all devices decide alike.
        finite = all_finite((total, gradients, share.batch_stats))

        rate = learning_rate(state.step) * plateau_factor ** state.plateau.reductions.astype(
            jnp.float32
        )
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, state.params, learning_rate=rate, finite=finite
        )
        frozen = chosen_leaves(freeze, state.params)
        params = kept(frozen, state.params, optax.apply_updates(state.params, updates))
        params = chosen_by(finite, params, state.params)

        measured = _total(measure(share.logits, labels, weights, share.losses), axis_name)
        sums = chosen_by(finite, measured, Sums.zeros())

        epoch_starts = state.step % steps_per_epoch == 0
        window_starts = epoch_starts | (state.step % log_every == 0)

        def add(before: Sums, start: jax.Array) -> Sums:
            return jax.tree.map(
                lambda b, s: jnp.where(start, 0, b).astype(b.dtype) + s, before, sums
            )

        averaged = None
        if average is not None:
            weight = average(state.step)
            averaged = kept(frozen, state.ema, optax.incremental_update(params, state.ema, weight))
            averaged = chosen_by(finite, averaged, state.ema)
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            batch_stats=chosen_by(finite, share.batch_stats, state.batch_stats),
            opt_state=opt_state,
            ema=averaged,
            window=add(state.window, window_starts),
            epoch=add(state.epoch, epoch_starts),
            left_out=state.left_out.after(
                finite, examples=measured.count, epoch_starts=epoch_starts
            ),
        )
        return state, {"loss": total, "learning_rate": rate, "finite": finite}

    return train_step


def make_eval_step(
    model: nn.Module,
    prepare: Prepare,
    *,
    loss: Loss = cross_entropy,
    axis_name: str | None = None,
) -> Callable[[Any, ClassSums, Batch], ClassSums]:
    """The function that adds one batch to an evaluation's sums.

    Args:
      model: the network.
      prepare: normalisation.
      loss: of each example.
      axis_name: the axis of pmap; None under jit.

    Returns:
      A function of (variables, sums so far, batch) that gives the sums with the batch.
    """

    def eval_step(variables: Any, sums: ClassSums, batch: Batch) -> ClassSums:
        images, labels = prepare(batch["image"]), batch["label"]
        logits = jnp.asarray(model.apply(variables, images, train=False))
        measured = measure_classes(logits, labels, batch["weight"], loss(logits, labels))
        return sums + _total(measured, axis_name)

    return eval_step
