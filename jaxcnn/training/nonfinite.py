"""What a run does about updates that were left out: it tells, writes them down, and stops in time.

A step says on the device whether its numbers were finite (`jaxcnn.training.left_out`). The host
looks at that some steps later, so that it goes on handing out steps while the devices compute, and
in any case before it writes a record or a checkpoint.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.progress import Progress
from jaxcnn.training.devices import Layout
from jaxcnn.training.left_out import LeftOut, all_finite
from jaxcnn.training.records import Records
from jaxcnn.training.steps import TrainState

_BEHIND = 2  # steps; a device has as many to compute while the host waits for an older one
_SHOWN = 8  # examples named in a note; the records hold all of them


class NonFiniteUpdates:
    """Looks at whether each update was made, and at the state before it is saved.

    Every process of a run makes one and calls the same methods in the same order.

    Args:
      layout: the devices.
      is_finite: ``state_is_finite``, compiled.
      examples: from the number of a step, from 0, to the indices of its global batch.
      limit: so many updates in a row that are left out end the run.
      steps_per_epoch: steps in an epoch, for the records.
      before: on the host, what was left out before the first step that is looked at.
      records: one line for each update that is left out.
      progress: the bar, for notes.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        is_finite: Callable[[TrainState], jax.Array],
        examples: Callable[[int], Sequence[int]],
        limit: int,
        steps_per_epoch: int,
        before: LeftOut,
        records: Records,
        progress: Progress,
    ) -> None:
        self._layout, self._is_finite = layout, is_finite
        self._examples, self._limit = examples, limit
        self._steps_per_epoch = steps_per_epoch
        self._updates, self._in_a_row = int(before.updates), int(before.in_a_row)
        self._records, self._progress = records, progress
        self._unseen: collections.deque[tuple[int, Mapping[str, jax.Array]]] = collections.deque()

    def after(self, step: int, state: TrainState, metrics: Mapping[str, jax.Array]) -> None:
        """Takes note of a step, and looks at an older one.

        Args:
          step: the steps done.
          state: after them.
          metrics: what the last of them gave.

        Raises:
          UserError: too many updates in a row were left out.
        """
        self._unseen.append((step, metrics))
        if len(self._unseen) > _BEHIND:
            self._look(state)

    def drain(self, state: TrainState) -> None:
        """Looks at all the steps up to that of ``state``.

        Raises:
          UserError: too many updates in a row were left out.
        """
        while self._unseen:
            self._look(state)

    def check(self, step: int, state: TrainState) -> None:
        """To be called before ``state``, after so many steps, is saved.

        Raises:
          UserError: it is not finite, or too many updates in a row were left out.
        """
        self.drain(state)
        if not self._layout.fetch(self._is_finite(state)):
            # Finite gradients have led there: too long a step, or squares of them.
            self._show_norms(step, state)
            raise UserError(
                f"after step {step} the parameters, their averages or the optimizer's memory are "
                "not finite, so that nothing is saved and the checkpoints before it, which are, "
                "stay; start again with --config.restart=True and a lower "
                "optimizer.learning_rate or another model.initialization."
            )

    def _look(self, state: TrainState) -> None:
        step, metrics = self._unseen.popleft()
        if self._layout.fetch(metrics["finite"]):
            self._in_a_row = 0
            return
        self._updates += 1
        self._in_a_row += 1
        loss = float(self._layout.fetch(metrics["loss"]))
        examples = list(self._examples(step - 1))
        self._records.metrics(
            "nonfinite",
            step,
            step / self._steps_per_epoch,
            {
                "loss": loss,
                "left_out": self._updates,
                "in_a_row": self._in_a_row,
                "examples": examples,
            },
        )
        self._progress.warn(
            f"step {step}: {_reason(loss)}; this update is left out ({self._updates} so far); "
            f"examples {_shortened(examples)}"
        )
        if self._in_a_row < self._limit:
            return
        self._show_norms(step, state)
        rate = float(self._layout.fetch(metrics["learning_rate"]))
        raise UserError(
            f"at step {step} the loss or a gradient was not finite for {self._in_a_row} updates in "
            "a row (train.max_nonfinite), none of which was made; start again with "
            f"--config.restart=True and a lower optimizer.learning_rate than {rate:g}, another "
            "model.initialization, or model.dtype=float32 if it is bfloat16; every "
            "checkpoint of this run holds finite parameters."
        )

    def _show_norms(self, step: int, state: TrainState) -> None:
        self._progress.warn(f"step {step}: {norms(self._layout.fetch(state.params))}")


def norms(params: Any) -> str:
    """The norm of each parameter array on the host, in words."""
    found = jax.tree.map(lambda x: np.linalg.norm(x.astype(np.float64)), params)
    return "norms of the parameters: " + ", ".join(
        f"{'/'.join(k.key for k in path)} {norm:.3g}"
        for path, norm in jax.tree_util.tree_leaves_with_path(found)
    )


def state_is_finite(state: TrainState) -> jax.Array:
    """Whether all that training goes on from is finite; the best metric is infinite at first."""
    return all_finite((state.params, state.batch_stats, state.opt_state, state.ema))


def _reason(loss: float) -> str:
    if math.isfinite(loss):
        return f"a gradient or a running statistic is not finite (the loss is {loss:.4g})"
    return f"the loss is {loss}"


def _shortened(examples: Sequence[int]) -> str:
    named = ", ".join(map(str, examples[:_SHOWN]))
    more = len(examples) - _SHOWN
    return f"{named} and {more} more" if more > 0 else named
