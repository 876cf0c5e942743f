"""What the command line of an evaluation says."""

import dataclasses
from typing import Literal

from jaxcnn.errors import UserError, unknown_name
from jaxcnn.evaluation.protocols import looks
from jaxcnn.models import list_models
from jaxcnn.training.devices import ParallelConfig


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated, on which images, and how.

    Attributes:
      model: the names of the networks of `weights`; one name may stand for several files.
      weights: files of weights.
      run: work directories of runs, or what they were copied to (their checkpoint.bucket).
      protocol: 'center', 'ten_crop', 'multi_crop', 'googlenet_144', 'dense' or 'dense+multi_crop'.
      scales: Q, one or several, in pixels; () for the protocol's own, or that at which the run was
        evaluated, or 256 for crops of 224.
      source: the data set, or a folder of images; None for the run's, or 'imagenet2012'.
      split: the part of it; None for the run's own for testing, or evaluation; or 'validation'.
      data_dir: where TFDS keeps its data sets; None for the run's, or TFDS's own default.
      image_size: height and width of a crop, in pixels, for files of weights; None for the file's.
      batch_size: crops of that size that go through the network together, over all devices of a
        process; whole images count by their area. The results do not depend on it.
      on_error: what to do about an image that cannot be read: 'stop', or 'skip' and count it.
      workers: worker processes that read and decode. 0: threads of the main process do.
      threads: threads that read and decode, over all worker processes.
      output: the folder for what is found; an earlier evaluation there is replaced. None: within
        the run's work directory, or below evaluations.
      parallel: the devices of each process, and the processes; `--parallel=pmap` is short for
        `--parallel.mode=pmap`.
    """

    model: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    protocol: str = "center"
    scales: tuple[int, ...] = ()
    source: str | None = None
    split: str | None = None
    data_dir: str | None = None
    image_size: int | None = None
    batch_size: int = 64
    on_error: Literal["stop", "skip"] = "stop"
    workers: int = 0
    threads: int = 8
    output: str | None = None
    parallel: ParallelConfig = ParallelConfig()

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        looks(self.protocol, ())
        for name in self.model:
            if name not in list_models():
                raise unknown_name("model", name, list_models())
        if not self.weights and not self.run:
            raise UserError(
                "nothing to evaluate: give --model=NAME --weights=FILE, or --run=WORKDIR."
            )
        if len(self.model) not in ({1, len(self.weights)} if self.weights else {0}):
            raise UserError(
                f"--model has {len(self.model)} names for {len(self.weights)} files of --weights; "
                "give one for each, in the same order, or one for all."
            )
        for name in ("batch_size", "threads", "image_size", *(("scales",) if self.scales else ())):
            value = getattr(self, name)
            if value is not None and min(value if name == "scales" else [value]) < 1:
                raise UserError(f"--{name}={value} must be 1 or more.")
        if self.workers < 0:
            raise UserError(f"--workers={self.workers} must be 0 or more.")
        if len(set(self.scales)) < len(self.scales):
            raise UserError(f"--scales={','.join(map(str, self.scales))} names a scale twice.")
        if self.parallel.model > 1:
            raise UserError("--parallel.model is for training; every device evaluates by itself.")
        self.parallel.check()
