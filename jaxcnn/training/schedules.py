"""The learning rate over a training: a function of the step, and of the validation metric."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes, and when training stops early.

    Attributes:
      kind: 'constant'; 'step' (times `factor` every `step_epochs`, or at the `milestones`);
        'cosine' (to zero at the last step); 'plateau' (times `factor` when the monitored metric
        stops improving); 'table' (the rates of `table`).
      warmup_epochs: epochs over which the rate rises linearly from zero; 0 for none.
      warmup_factor: multiple of the rate that it has through the whole warm-up, in place of rising
        from zero (ResNet-110 on CIFAR-10: 0.1 of 0.1 for about 400 steps); None to rise.
      factor: what the rate is multiplied by at each step or plateau.
      step_epochs: epochs between two steps of 'step'.
      milestones: updates after which 'step' multiplies the rate, in place of every `step_epochs`,
        such as 32000,48000.
      table: the rates of 'table' in place of `optimizer.learning_rate`, as a list of EPOCH=RATE
        from epoch 0 on, such as 0=5e-4,2=2e-4,5=1e-4; each holds until the next.
      patience: evaluations without improvement after which 'plateau' reduces the rate.
      min_delta: an improvement of the monitored metric by no more than this does not count.
      max_reductions: reductions by 'plateau' at most; None for no limit.
      monitor: what 'plateau', early stopping and the best checkpoint watch on the evaluation
        split: 'error' (1 - top-1 accuracy), 'loss', or 'objective' (the loss and the L2 penalty of
        `optimizer.weight_decay`, which is what Keras calls the loss).
      early_stopping: evaluations without any improvement after which training ends; None for never.
    """

    kind: Literal["constant", "step", "cosine", "plateau", "table"] = "constant"
    warmup_epochs: float = 0.0
    warmup_factor: float | None = None
    factor: float = 0.1
    step_epochs: int = 30
    milestones: tuple[int, ...] = ()
    table: tuple[str, ...] = ()
    patience: int = 5
    min_delta: float = 0.0
    max_reductions: int | None = None
    monitor: Literal["error", "loss", "objective"] = "error"
    early_stopping: int | None = None

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        if self.warmup_epochs < 0:
            raise UserError("schedule.warmup_epochs is negative; give 0 for no warm-up.")
        if self.warmup_factor is not None and not 0 < self.warmup_factor <= 1:
            raise UserError(
                f"schedule.warmup_factor={self.warmup_factor} must be above 0 and at most 1, or "
                "none."
            )
        if list(self.milestones) != sorted({step for step in self.milestones if step > 0}):
            raise UserError(
                f"schedule.milestones={','.join(map(str, self.milestones))} must be numbers of "
                "updates that rise, such as 32000,48000."
            )
        if not self.rates() and self.kind == "table":
            raise UserError(
                "schedule.kind=table needs rates; give --config.schedule.table=0=5e-4,2=2e-4 or "
                "others."
            )
        if not 0 < self.factor < 1:
            raise UserError(
                f"schedule.factor={self.factor} would not lower the rate; give a number "
                "between 0 and 1."
            )
        for name in ("step_epochs", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"schedule.{name}={getattr(self, name)} must be 1 or more.")
        if self.max_reductions is not None and self.max_reductions < 0:
            raise UserError(
                f"schedule.max_reductions={self.max_reductions} must be 0 or more, or none."
            )
        if self.early_stopping is not None and self.early_stopping < 1:
            raise UserError(
                f"schedule.early_stopping={self.early_stopping} would stop before it starts; "
                "give 1 or more, or none."
            )

    def rates(self) -> dict[float, float]:
        """The rates of ``table`` by the epoch, counted from 0, from which each holds.

        Raises:
          UserError: an entry is not of the form EPOCH=RATE, or they do not begin at 0 and rise.
        """
        found: dict[float, float] = {}
        for text in self.table:
            try:
                epoch, rate = map(float, text.split("="))
            except ValueError:
                epoch, rate = -1.0, -1.0
            rises = epoch > max(found) if found else epoch == 0
            if not rises or not 0 < rate < float("inf"):
                raise UserError(
                    f"schedule.table holds '{text}'; give EPOCH=RATE with positive rates, from "
                    "epoch 0 on and rising, such as 0=5e-4,2=2e-4."
                )
            found[epoch] = rate
        return found


def make_schedule(
    config: ScheduleConfig, peak: float, *, steps_per_epoch: int, total_steps: int
) -> Callable[[jax.Array], jax.Array]:
    """The learning rate as a function of the step; a plateau's reductions come on top of it.

    Args:
      config: which form.
      peak: the initial rate, reached at the end of the warm-up; a table has its own.
      steps_per_epoch: steps in an epoch.
      total_steps: steps of the whole training, warm-up included.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if config.kind == "step":
        every = config.step_epochs * steps_per_epoch
        milestones = config.milestones or range(every, total_steps, every)
        main = optax.piecewise_constant_schedule(peak, dict.fromkeys(milestones, config.factor))
    elif config.kind == "cosine":
        # Counted from the end of the warm-up, as optax joins schedules.
        main = optax.cosine_decay_schedule(peak, max(1, total_steps - warmup))
    elif config.kind == "table":
        rates = {round(epoch * steps_per_epoch): r for epoch, r in config.rates().items()}
        peak = rates[0]
        main = optax.join_schedules(
            [optax.constant_schedule(rate) for rate in rates.values()], list(rates)[1:]
        )
    else:
        main = optax.constant_schedule(peak)
    if not warmup:
        return main
    if config.warmup_factor is None:
        before = optax.linear_schedule(0.0, peak, warmup)
    else:
        before = optax.constant_schedule(config.warmup_factor * peak)
    if config.kind == "cosine":
        return optax.join_schedules([before, main], [warmup])
    # Steps are counted from the first step of training, warm-up or not.
    return lambda step: jnp.where(step < warmup, before(step), main(step))


@struct.dataclass
class Monitor:
    """What a watcher of the validation metric remembers; part of the checkpointed state.

    Attributes:
      best: float32, the lowest value seen; infinity before the first.
      stale: int32, evaluations since that value was last improved on, or since a reduction.
      reductions: int32, how often the learning rate was reduced.
    """

    best: Any
    stale: Any
    reductions: Any

    @classmethod
    def fresh(cls) -> "Monitor":
        """A monitor that has seen nothing."""
        return cls(best=np.float32(np.inf), stale=np.int32(0), reductions=np.int32(0))


def observe(monitor: Monitor, value: float, min_delta: float = 0.0) -> Monitor:
    """The monitor after one more evaluation; lower is better and NaN never improves."""
    if np.float32(value) < monitor.best - np.float32(min_delta):
        return dataclasses.replace(monitor, best=np.float32(value), stale=np.int32(0))
    return dataclasses.replace(monitor, stale=np.int32(monitor.stale) + np.int32(1))


def reduce_on_plateau(monitor: Monitor, value: float, config: ScheduleConfig) -> Monitor:
    """Observes ``value`` and counts a reduction when `patience` evaluations brought nothing.

    The rule is that of Keras' ReduceLROnPlateau without cool-down: the count of stale
    evaluations starts again at a reduction, and the best value stays.
    """
    monitor = observe(monitor, value, config.min_delta)
    exhausted = config.max_reductions is not None and monitor.reductions >= config.max_reductions
    if monitor.stale < config.patience or exhausted:
        return monitor
    return dataclasses.replace(
        monitor, stale=np.int32(0), reductions=np.int32(monitor.reductions) + np.int32(1)
    )
