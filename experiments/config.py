"""The whole configuration of a run, composed of the parts that each piece of the code owns."""

import dataclasses
from typing import Literal

from experiments.network import ModelConfig
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.errors import UserError
from jaxcnn.training.bucket import is_address
from jaxcnn.training.checkpoints import CheckpointConfig
from jaxcnn.training.devices import ParallelConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

_RUN_IN_A_BUCKET = (
    "a run writes to a folder on a disk; give one, and that address by --config.checkpoint.bucket, "
    "to which the checkpoints and the records are copied."
)
_DATA_IN_A_BUCKET = (
    "images are read from a folder on a disk; copy them to one (`gcloud storage cp -r` or `aws s3 "
    "cp --recursive`), or mount the bucket as one, and give that."
)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How the evaluation split is gone through after every epoch.

    Attributes:
      batch_size: examples in an evaluation batch, over all devices and processes together; it is
        rounded up so that the devices can share it. The counts do not depend on it.
    """

    batch_size: int = 256

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        if self.batch_size < 1:
            raise UserError(f"eval.batch_size={self.batch_size} must be 1 or more.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training from its first step to its result.

    Attributes:
      model: the network.
      data: the images.
      augment: what is done to the training images.
      optimizer: the optimizer.
      schedule: the learning rate over time, and early stopping.
      train: how long, in which batches.
      eval: the evaluation after every epoch.
      checkpoint: what is kept to continue from.
      parallel: the devices; `--config.parallel=pmap` is short for `--config.parallel.mode=pmap`.
      seed: all random numbers of the run are a function of it, the step and the example.
      workdir: the folder that holds all that the run writes; None for `runs/RECIPE/PRESET`.
      restart: begin anew, renaming the work directory of an earlier run.
      resume: 'exact' continues a run under its own configuration only; 'force' continues it
        under a changed one.
    """

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    parallel: ParallelConfig = ParallelConfig()
    seed: int = 0
    workdir: str | None = None
    restart: bool = False
    resume: Literal["exact", "force"] = "exact"

    def check(self) -> None:
        """Raises a UserError for a value, or a combination of values, that cannot work."""
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed={self.seed} must be at least 0 and below 2**31.")
        for group in (
            self.model,
            self.data,
            self.augment,
            self.optimizer,
            self.schedule,
            self.train,
            self.eval,
            self.checkpoint,
            self.parallel,
        ):
            group.check()
        for name, place, instead in (
            ("workdir", self.workdir, _RUN_IN_A_BUCKET),
            ("data.data_dir", self.data.data_dir, _DATA_IN_A_BUCKET),
            ("data.source", self.data.source, _DATA_IN_A_BUCKET),
        ):
            if place is not None and is_address(place):
                raise UserError(f"{name}={place} is an address, and {instead}")
        self.augment.check_crop(self.data.image_size, self.data.padding)
        if self.train.steps is None:
            self.check_length(steps_per_epoch=1)  # the same of any number
        if self.schedule.monitor == "objective" and self.optimizer.name == "adamw":
            raise UserError(
                "schedule.monitor=objective counts the L2 penalty of optimizer.weight_decay, and "
                "the decay of optimizer.name=adamw is none; choose monitor=loss, or adam."
            )

    def check_length(self, steps_per_epoch: int) -> None:
        """Raises a UserError for what begins after the last step, with so many in an epoch."""
        steps = self.train.last_step(steps_per_epoch)
        length = f"train.steps={steps}" if self.train.steps else f"train.epochs={self.train.epochs}"
        for name, epochs in (
            ("schedule.warmup_epochs", self.schedule.warmup_epochs),
            ("optimizer.polyak", self.optimizer.polyak or 0),
        ):
            if epochs * steps_per_epoch >= steps:
                raise UserError(f"{name}={epochs} leaves nothing of {length}; make it shorter.")


# Fields that say where a run lies and how it starts, and nothing of what it computes.
WHERE = frozenset({"workdir", "restart", "resume"})

# Fields that change the numbers of a run by rounding at most: it may continue under other values.
FREE_ON_RESUME = WHERE | frozenset(
    {
        "data.data_dir",
        "data.workers",
        "data.threads",
        "data.prefetch",
        "data.on_error",
        "model.convolution",
        "train.remat",
        "train.log_every",
        "train.hang_limit",
        "train.max_nonfinite",
        "checkpoint.every_steps",
        "checkpoint.keep",
        "checkpoint.bucket",
        "parallel.mode",
        "parallel.devices",
        "parallel.model",
        "parallel.split",
        "parallel.coordinator",
        "parallel.processes",
        "parallel.process",
        "parallel.detect",
        "parallel.timeout",
        "parallel.silence",
        "parallel.deterministic",
        "eval.batch_size",
    }
)

# Fields that may differ from process to process of one run.
FREE_AMONG_PROCESSES = frozenset(
    {
        "data.data_dir",
        "data.workers",
        "data.threads",
        "data.prefetch",
        "parallel.coordinator",
        "parallel.process",
        "parallel.timeout",
        "parallel.silence",
        "train.hang_limit",
    }
)
