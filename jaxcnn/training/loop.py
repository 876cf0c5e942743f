"""The loop: it takes iterators and compiled steps, and knows neither images nor networks."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import jax
import numpy as np

from jaxcnn.progress import Progress
from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.devices import Layout
from jaxcnn.training.goodput import EarlierStarts
from jaxcnn.training.guessing import stuck
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.metrics import ClassSums, means
from jaxcnn.training.nonfinite import NonFiniteUpdates, norms
from jaxcnn.training.records import Records
from jaxcnn.training.schedules import ScheduleConfig, observe, reduce_on_plateau
from jaxcnn.training.steps import TrainState
from jaxcnn.training.train_config import TrainConfig, epochs_after

HostBatches = Callable[[int, int], AbstractContextManager[Iterator[Mapping[str, np.ndarray]]]]


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
      penalty: the L2 penalty of a state, where the monitors count it.
      nonfinite: what is done about updates that were left out.
      begin_epoch: what becomes of a state before the first step of an epoch, whose number from 0
        it is given; None for nothing. Done again, it gives the same.
      finalize: what becomes of the last state before it is evaluated; None for nothing. Done
        again, it gives the same.
      checkpoint_every: steps between two checkpoints within an epoch; None for none.
      newest: the folder of the newest checkpoints.
      best: the folder of the best one by the monitored metric.
      meta: what is saved beside each state.
      records: the metrics and timings files.
      progress: the bar.
      stop: whether the run was asked to stop.
      timeline: is told what is being done.
      earlier: the starts of the run before this one.
    """

    layout: Layout
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[[TrainState], ClassSums]
    batches: HostBatches
    steps_per_epoch: int
    config: TrainConfig
    schedule: ScheduleConfig
    penalty: Callable[[TrainState], jax.Array]
    nonfinite: NonFiniteUpdates
    begin_epoch: Callable[[TrainState, int], TrainState] | None
    finalize: Callable[[TrainState], TrainState] | None
    checkpoint_every: int | None
    newest: Checkpoints
    best: Checkpoints
    meta: Mapping[str, Any]
    records: Records
    progress: Progress
    stop: StopRequest
    timeline: Timeline
    earlier: EarlierStarts
    # The step and the time of the last record, and the seconds waited for data until then.
    _recorded: tuple[int, float, float] = (0, 0.0, 0.0)

    def run(self, state: TrainState) -> tuple[TrainState, ClassSums]:
        """Trains from ``state`` to the end.

        Returns:
          The last state and the evaluation of it.

        Raises:
          Interrupted: the run was asked to stop; its state is in a checkpoint.
          UserError: the numbers are not finite any more, or nothing can be written.
        """
        step = int(self.layout.fetch(state.step))
        self._recorded = self._now(step)
        last = self.config.last_step(self.steps_per_epoch)
        if step < last and self._evaluated(state) * self.steps_per_epoch > step:
            # It had ended within this epoch and is forced to go on: the epoch's end is to come.
            begun = self.layout.replicate(np.int32(step // self.steps_per_epoch))
            state = dataclasses.replace(state, evaluated=begun)
        evaluation: ClassSums | None = None
        with self.timeline.reading(
            self.batches(step, last), Activity.DATA, "the batch of step", first=step + 1
        ) as batches:
            while True:
                if step and (step % self.steps_per_epoch == 0 or step == last):
                    state, finished = self._finish_epoch(state, step, is_last=step == last)
                    evaluation = finished or evaluation
                    self._recorded = self._now(step)  # evaluating is not training
                    if self._exhausted(state):
                        if self.finalize is not None and step != last:
                            evaluation = None  # it was not known to be the last
                        break
                if step >= last:  # beyond it, where a run is forced to fewer epochs
                    break
                if self.stop.reached():
                    self._interrupt(state, step)
                if self.begin_epoch is not None and step % self.steps_per_epoch == 0:
                    state = self.begin_epoch(state, step // self.steps_per_epoch)
                batch = next(batches)
                step += 1
                self.timeline.turn_to(
                    Activity.REPEATED_STEPS if step <= self.earlier.furthest else Activity.STEPS,
                    f"step {step}",
                )
                state, metrics = self.train_step(state, self.layout.place(batch))
                self.nonfinite.after(step, state, metrics)
                self.progress.advance(self.config.batch_size)
                ends = step % self.steps_per_epoch == 0 or step == last
                if step % self.config.log_every == 0 or ends:
                    self._record(state, step, metrics)
                if self.checkpoint_every and step % self.checkpoint_every == 0 and not ends:
                    self._save(self.newest, step, state, self.meta)
        self._wait(step, self.newest, self.best)
        if evaluation is None:
            # Killed after its last checkpoint, or not known to be the last before its evaluation.
            state, evaluation = self._finish(state, step)
        self._account(step)
        return state, evaluation

    def _now(self, step: int) -> tuple[int, float, float]:
        return step, time.monotonic(), self.timeline.spent()[Activity.DATA]

    def _account(self, step: int, **values: float) -> None:
        """Records what the time of this start went to until now."""
        spent = self.timeline.spent()
        self.records.timings(step, start=self.earlier.count, spent=spent, **values)

    def _finish(self, state: TrainState, step: int) -> tuple[TrainState, ClassSums]:
        """Evaluates a last state that is saved already, and what `finalize` makes of it."""
        if self.finalize is None:
            return state, self.evaluate(state)
        state = self.finalize(state)
        evaluation = self.evaluate(state)
        meta = {**self.meta, "evaluation": means(evaluation.total)}
        self._save(self.newest, step, state, meta, replace=True)
        self._wait(step, self.newest)
        return state, evaluation

    def _evaluated(self, state: TrainState) -> int:
        """How many epochs' evaluations are part of a state, that of a part of one included."""
        return int(self.layout.fetch(state.evaluated))

    def _finish_epoch(
        self, state: TrainState, step: int, *, is_last: bool
    ) -> tuple[TrainState, ClassSums | None]:
        """Evaluates and saves, unless the state says that this was done before it was restored."""
        epoch = epochs_after(step, self.steps_per_epoch)
        begun = math.ceil(epoch)
        if self._evaluated(state) == begun:
            return state, None
        trained = means(self.layout.fetch(state.epoch))
        self.records.metrics("epoch", step, epoch, {k: trained[k] for k in ("loss", "accuracy")})
        read = sum(self.layout.fetch((state.epoch.count, state.left_out.examples)))
        steps = step - (begun - 1) * self.steps_per_epoch
        if skipped := steps * self.config.batch_size - read:
            self.progress.warn(
                f"epoch {round(epoch, 2)}: {skipped} training images could not be read"
            )
        try:
            if is_last and self.finalize is not None:
                state = self.finalize(state)
            evaluation = self.evaluate(state)
        except Interrupted:
            self._interrupt(state, step)
        metrics = means(evaluation.total)
        if self.schedule.monitor == "objective":
            metrics["objective"] = metrics["loss"] + float(self.layout.fetch(self.penalty(state)))
        self.records.metrics("eval", step, epoch, metrics)
        if warning := stuck(
            trained["loss"],
            np.asarray(evaluation.count),
            epoch,
            steps_per_epoch=self.steps_per_epoch,
            config=self.config,
            schedule=self.schedule,
        ):
            self.progress.warn(warning)
        monitor = self.schedule.monitor
        watched = 1 - metrics["accuracy"] if monitor == "error" else metrics[monitor]

        plateau, stopping = self.layout.fetch((state.plateau, state.stopping))
        if self.schedule.kind == "plateau":
            plateau = reduce_on_plateau(plateau, watched, self.schedule)
        stopping = observe(stopping, watched)
        state = dataclasses.replace(
            state,
            evaluated=self.layout.replicate(np.int32(begun)),
            plateau=self.layout.replicate(plateau),
            stopping=self.layout.replicate(stopping),
        )
        self.progress.note(
            f"epoch {round(epoch, 2)}: training loss {trained['loss']:.4f}, evaluation loss "
            f"{metrics['loss']:.4f}, top-1 accuracy {metrics['accuracy']:.2%}"
        )
        meta = {**self.meta, "evaluation": metrics}
        if stopping.stale == 0:
            self._save(self.best, step, state, meta)
            # The newest state says that the best one is there: it must be, whenever a run dies.
            self._wait(step, self.best)
        # One of this step is of a run that was asked to stop before it was evaluated.
        self._save(self.newest, step, state, meta, replace=True)
        return state, evaluation

    def _exhausted(self, state: TrainState) -> bool:
        """True when early stopping has waited long enough."""
        patience = self.schedule.early_stopping
        if patience is None:
            return False
        return int(self.layout.fetch(state.stopping.stale)) >= patience

    def _interrupt(self, state: TrainState, step: int) -> NoReturn:
        """Saves the state and says that the run stopped."""
        self._save(self.newest, step, state, self.meta)
        self._wait(step, self.newest, self.best)
        self._account(step)
        raise Interrupted(step)

    def _save(
        self,
        to: Checkpoints,
        step: int,
        state: TrainState,
        meta: Mapping[str, Any],
        *,
        replace: bool = False,
    ) -> None:
        """Begins to write a checkpoint, of a state that is known to be finite."""
        self.nonfinite.check(step, state)
        with self._saving(step):
            self.records.sync()  # a checkpoint that outlives a loss of power has its records too
            to.save(step, self.layout.to_mesh(state), meta, replace=replace)

    def _wait(self, step: int, *folders: Checkpoints) -> None:
        """Returns when what was saved is on disk."""
        with self._saving(step):
            for folder in folders:
                folder.wait()

    def _saving(self, step: int) -> AbstractContextManager[None]:
        return self.timeline.doing(Activity.SAVING, f"the checkpoint of step {step}")

    def _record(self, state: TrainState, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Writes the window's training metrics and times, and the norms of what has blown up."""
        self.nonfinite.drain(state)
        window = means(self.layout.fetch(state.window))
        values = {
            "loss": window["loss"],
            "accuracy": window["accuracy"],
            "learning_rate": float(self.layout.fetch(metrics["learning_rate"])),
        }
        self.records.metrics("train", step, step / self.steps_per_epoch, values)
        since, then, waited_then = self._recorded
        self._recorded = _, now, waited = self._now(step)
        images = (step - since) * self.config.batch_size
        waiting = (waited - waited_then) / (now - then)
        self._account(
            step,
            seconds=now - then,
            images_per_second=images / (now - then),
            waiting_for_data=waiting,
        )
        self.progress.show(loss=window["loss"], waiting_for_data=waiting)
        if window["loss"] > self.config.divergence:
            self.progress.warn(
                f"step {step}: the training loss is {window['loss']:.4g}; "
                + norms(self.layout.fetch(state.params))
            )
