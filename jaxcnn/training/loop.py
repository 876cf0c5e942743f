"""The loop: it takes iterators and compiled steps, and knows neither images nor networks."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NoReturn

import jax
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.progress import Progress
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.devices import Layout
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.metrics import ClassSums, means
from jaxcnn.training.records import Records
from jaxcnn.training.schedules import ScheduleConfig, observe, reduce_on_plateau
from jaxcnn.training.steps import TrainState

HostBatches = Callable[[int, int], AbstractContextManager[Iterator[Mapping[str, np.ndarray]]]]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long training lasts, and how often it speaks.

    Attributes:
      epochs: passes over the training split; an epoch is floor(N / batch_size) steps.
      steps: updates to make, in place of `epochs`; the last epoch may then be a part of one, after
        which there is an evaluation and a checkpoint as after a whole one. None: whole epochs.
      batch_size: examples in a step, over all devices and processes together.
      loss: 'cross_entropy', or 'map', the maximum a posteriori criterion of LeNet-5's distances
        (LeCun et al. 1998, equation 9); the evaluation's loss is the same.
      label_smoothing: share of each training target that is spread evenly over all classes; the
        evaluation's targets are left as they are.
      auxiliary_weight: what the loss of each auxiliary classifier counts beside the network's own,
        where it has any (GoogLeNet's two, 0.3 in the paper); 0 trains without them.
      exact_statistics: training batches, those that would come next, over which BatchNorm's means
        and variances are computed anew after the last step, in place of the moving averages (He et
        al. 2015, of the released models); 0 keeps those.
      log_every: steps between two lines of training metrics.
      divergence: a training loss above this is reported with the norms of the parameters; one that
        is not a number ends the run.
    """

    epochs: int = 30
    steps: int | None = None
    batch_size: int = 128
    loss: Literal["cross_entropy", "map"] = "cross_entropy"
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    exact_statistics: int = 0
    log_every: int = 50
    divergence: float = 1000.0

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        for name in ("epochs", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}={getattr(self, name)} must be 1 or more.")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"train.steps={self.steps} must be 1 or more, or none.")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"train.label_smoothing={self.label_smoothing} must be at least 0 and below 1."
            )
        for name in ("auxiliary_weight", "exact_statistics"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}={getattr(self, name)} is negative; give 0 or more.")

    def last_step(self, steps_per_epoch: int) -> int:
        """The updates of the whole training."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


def evaluate(
    state: TrainState,
    eval_step: Callable[[Any, ClassSums, Any], ClassSums],
    batches: AbstractContextManager[Iterator[Mapping[str, np.ndarray]]],
    *,
    layout: Layout,
    num_classes: int,
    stop: StopRequest,
    progress: Progress,
) -> ClassSums:
    """The sums over an evaluation split, on the host.

    Args:
      state: whose variables are evaluated (the averaged ones where there are any).
      eval_step: the compiled step.
      batches: the split's padded batches, this process's slices.
      layout: the devices.
      num_classes: the classes that are counted.
      stop: asked before each batch.
      progress: the bar.

    Raises:
      Interrupted: the run was asked to stop; nothing of the evaluation is kept.
    """
    sums = layout.replicate(ClassSums.zeros(num_classes))
    with batches as iterator:
        for batch in iterator:
            if stop.reached():
                raise Interrupted(int(layout.fetch(state.step)))
            sums = eval_step(state.variables(), sums, layout.place(batch))
            progress.advance(len(batch["label"]) * layout.share[1])
    return layout.fetch(sums)


@dataclasses.dataclass
class Trainer:
    """Runs compiled steps over batches until the last epoch, and keeps what comes of it.

    Attributes:
      layout: the devices.
      train_step: the compiled training step.
      evaluate: from a state to the sums over the evaluation split.
      batches: this process's training batches from step ``start`` to step ``stop``.
      steps_per_epoch: steps in an epoch.
      config: how long, and how often to record.
      schedule: what the monitors do with the evaluation's metric.
      checkpoint_every: steps between two checkpoints within an epoch; None for none.
      newest: the folder of the newest checkpoints.
      best: the folder of the best one by the monitored metric.
      meta: what is saved beside each state.
      records: the metrics and timings files.
      progress: the bar.
      stop: whether the run was asked to stop.
    """

    layout: Layout
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[[TrainState], ClassSums]
    batches: HostBatches
    steps_per_epoch: int
    config: TrainConfig
    schedule: ScheduleConfig
    checkpoint_every: int | None
    newest: Checkpoints
    best: Checkpoints
    meta: Mapping[str, Any]
    records: Records
    progress: Progress
    stop: StopRequest
    _recorded: tuple[int, float] = (0, 0.0)  # the step and the time of the last record

    def run(self, state: TrainState) -> tuple[TrainState, ClassSums]:
        """Trains from ``state`` to the end.

        Returns:
          The last state and the evaluation of it.

        Raises:
          Interrupted: the run was asked to stop; its state is in a checkpoint.
          UserError: the loss is not a number any more, or nothing can be written.
        """
        step = int(self.layout.fetch(state.step))
        self._recorded = (step, time.monotonic())
        last = self.config.epochs * self.steps_per_epoch
        evaluation: ClassSums | None = None
        with self.batches(step, last) as batches:
            while True:
                if step and step % self.steps_per_epoch == 0:
                    state, finished = self._finish_epoch(state, step)
                    evaluation = finished or evaluation
                    self._recorded = (step, time.monotonic())  # evaluating is not training
                    if self._exhausted(state):
                        break
                if step >= last:  # beyond it, where a run is forced to fewer epochs
                    break
                if self.stop.reached():
                    self._interrupt(state, step)
                state, metrics = self.train_step(state, self.layout.place(next(batches)))
                step += 1
                self.progress.advance(self.config.batch_size)
                epoch_ends = step % self.steps_per_epoch == 0
                if step % self.config.log_every == 0 or epoch_ends:
                    self._record(state, step, metrics)
                if self.checkpoint_every and step % self.checkpoint_every == 0 and not epoch_ends:
                    self.newest.save(step, self.layout.to_mesh(state), self.meta)
        self.newest.wait()
        self.best.wait()
        # A run killed after its last checkpoint has its evaluation in the records only.
        return state, evaluation or self.evaluate(state)

    def _finish_epoch(self, state: TrainState, step: int) -> tuple[TrainState, ClassSums | None]:
        """Evaluates and saves, unless the state says that this was done before it was restored."""
        epoch = step // self.steps_per_epoch
        if int(self.layout.fetch(state.evaluated)) == epoch:
            return state, None
        trained = means(self.layout.fetch(state.epoch))
        self.records.metrics("epoch", step, epoch, {k: trained[k] for k in ("loss", "accuracy")})
        counted = int(self.layout.fetch(state.epoch.count))
        if skipped := self.steps_per_epoch * self.config.batch_size - counted:
            self.progress.note(f"epoch {epoch}: {skipped} training images could not be read")
        try:
            evaluation = self.evaluate(state)
        except Interrupted:
            self._interrupt(state, step)
        metrics = means(evaluation.total)
        self.records.metrics("eval", step, epoch, metrics)
        watched = metrics["loss"] if self.schedule.monitor == "loss" else 1 - metrics["accuracy"]

        plateau, stopping = self.layout.fetch((state.plateau, state.stopping))
        if self.schedule.kind == "plateau":
            plateau = reduce_on_plateau(plateau, watched, self.schedule)
        stopping = observe(stopping, watched)
        state = dataclasses.replace(
            state,
            evaluated=self.layout.replicate(np.int32(epoch)),
            plateau=self.layout.replicate(plateau),
            stopping=self.layout.replicate(stopping),
        )
        self.progress.note(
            f"epoch {epoch}: training loss {trained['loss']:.4f}, evaluation loss "
            f"{metrics['loss']:.4f}, top-1 accuracy {metrics['accuracy']:.2%}"
        )
        saved = self.layout.to_mesh(state)
        if stopping.stale == 0:
            self.best.save(step, saved, {**self.meta, "evaluation": metrics})
            # The newest state says that the best one is there: it must be, whenever a run dies.
            self.best.wait()
        self.newest.save(step, saved, {**self.meta, "evaluation": metrics})
        return state, evaluation

    def _exhausted(self, state: TrainState) -> bool:
        """True when early stopping has waited long enough."""
        patience = self.schedule.early_stopping
        if patience is None:
            return False
        return int(self.layout.fetch(state.stopping.stale)) >= patience

    def _interrupt(self, state: TrainState, step: int) -> NoReturn:
        """Saves the state and says that the run stopped."""
        self.newest.save(step, self.layout.to_mesh(state), self.meta)
        self.newest.wait()
        self.best.wait()
        raise Interrupted(step)

    def _record(self, state: TrainState, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Writes the window's training metrics and times; looks for a loss that has blown up."""
        window = means(self.layout.fetch(state.window))
        values = {
            "loss": window["loss"],
            "accuracy": window["accuracy"],
            "learning_rate": float(self.layout.fetch(metrics["learning_rate"])),
        }
        self.records.metrics("train", step, step / self.steps_per_epoch, values)
        now, (since, then) = time.monotonic(), self._recorded
        self._recorded = (step, now)
        images = (step - since) * self.config.batch_size
        self.records.timings(step, seconds=now - then, images_per_second=images / (now - then))
        self.progress.show(loss=window["loss"])
        if window["loss"] <= self.config.divergence:
            return
        params = self.layout.fetch(state.params)
        norms = jax.tree.map(lambda x: np.linalg.norm(x.astype(np.float64)), params)
        self.progress.note(
            f"step {step}: the training loss is {window['loss']:.4g}; norms of the parameters: "
            + ", ".join(
                f"{'/'.join(k.key for k in path)} {norm:.3g}"
                for path, norm in jax.tree_util.tree_leaves_with_path(norms)
            )
        )
        if not math.isfinite(window["loss"]):
            raise UserError(
                f"the training loss is no longer a number at step {step}; start again with "
                f"--config.restart=True and a lower optimizer.learning_rate than "
                f"{values['learning_rate']:g}, or another model.initialization."
            )
