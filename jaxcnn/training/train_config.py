"""What a training minimises, how long it lasts, and how often it speaks."""

import dataclasses
from typing import Literal

from jaxcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What training minimises, how long it lasts, and how often it speaks.

    Attributes:
      epochs: passes over the training split; an epoch is floor(N / batch_size) steps.
      steps: updates to make, in place of `epochs`; the last epoch may then be a part of one, after
        which there is an evaluation and a checkpoint as after a whole one. None: whole epochs.
      batch_size: examples in a step, over all devices and processes together.
      accumulate: micro-batches that a step's batch is computed in, one after the other, in less
        memory (little less on CPU); the update is that of the whole batch, with its dropout masks.
        BatchNorm takes each micro-batch's own statistics, and their mean for its running ones.
      remat: compute activations again in the backward pass instead of keeping them all: less
        memory, for up to a third more operations and the same numbers.
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
      divergence: a training loss above this is reported with the norms of the parameters.
      max_nonfinite: updates in a row that may be left out because the loss or a gradient is
        infinite or not a number; so many end the run.
      hang_limit: seconds that a step, a batch, an evaluation batch or a checkpoint may take; one
        that takes longer ends the run, with the stacks of all its threads, to be started again.
        None for no limit. Start-up and compilation have none.
    """

    epochs: int = 30
    steps: int | None = None
    batch_size: int = 128
    accumulate: int = 1
    remat: bool = False
    loss: Literal["cross_entropy", "map"] = "cross_entropy"
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3
    exact_statistics: int = 0
    log_every: int = 50
    divergence: float = 1000.0
    max_nonfinite: int = 10
    hang_limit: int | None = 600

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        for name in ("epochs", "batch_size", "accumulate", "log_every", "max_nonfinite"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}={getattr(self, name)} must be 1 or more.")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"train.steps={self.steps} must be 1 or more, or none.")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"train.label_smoothing={self.label_smoothing} must be at least 0 and below 1."
            )
        if self.hang_limit is not None and self.hang_limit < 1:
            raise UserError(f"train.hang_limit={self.hang_limit} must be 1 or more, or none.")
        for name in ("auxiliary_weight", "exact_statistics"):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}={getattr(self, name)} is negative; give 0 or more.")

    def last_step(self, steps_per_epoch: int) -> int:
        """The updates of the whole training."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


def epochs_after(step: int, steps_per_epoch: int) -> int | float:
    """The epochs that so many steps are; a whole number where they are whole."""
    epochs, rest = divmod(step, steps_per_epoch)
    return step / steps_per_epoch if rest else epochs
