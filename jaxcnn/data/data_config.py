"""Which images a run reads, in what form, and how."""

import dataclasses
from typing import Literal, get_args

from jaxcnn.errors import UserError, unknown_name

Normalization = Literal["unit", "half", "lenet", "mean", "mean_std", "mean_image_std", "pixel_mean"]
Decode = Literal["exact", "fast"]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, in what form, and how they are read.

    Attributes:
      source: the name of a data set of TFDS, 'digits', or a path to folders of images,
        PATH/train/CLASS/*.jpg.
      data_dir: where TFDS keeps its data sets. None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
      train_split: the part that is trained on; of data sets of TFDS also a slice, 'train[:80%]'.
      eval_split: the part that is evaluated on after every epoch.
      test_split: a part that the last state alone is evaluated on, once, where `eval_split` is for
        plateaus, early stopping and the best checkpoint. None: there is none.
      image_size: height and width of what the network takes, in pixels.
      padding: how many of these, on every side, are zeros around each rescaled image, in training
        and in evaluation (2 for MNIST's 28 x 28 in LeNet-5's 32); `augment.pad` is for training.
      channels: 1 for grey, 3 for colour. None: what the source has.
      normalization: what the network takes: 'unit', values in [0, 1]; 'half', in [-1, 1]; 'lenet',
        in [-0.1, 1.175]; 'mean', grey levels of 0 to 255 less their mean over the training set
        (VGG's); 'mean_std', divided by their standard deviation too; 'mean_image_std', by the mean
        of the images' own; 'pixel_mean', less the mean image of the training set as it is seen in
        evaluation (AlexNet, ResNet). None: what a trained network that one starts from was trained
        to take.
      decode: how training images are decoded and reduced: 'exact'; or 'fast', in less time to
        slightly other pixels: JPEGs are decoded at the scale that the drawn part allows, and the
        rest is done bilinearly (see `jaxcnn.data.reading`). Images are evaluated exactly.
      on_error: what to do about an image that cannot be read: 'stop', or 'skip' it and count it; a
        black image takes its place in a training batch, with no weight in the loss (but a part in
        the batch's statistics, where the network has BatchNorm).
      workers: worker processes that read and decode, at most one to a core. 0: threads of the
        main process do.
      threads: threads that read and decode, over all worker processes; each makes whole batches.
      prefetch: batches made ahead of the step, over all worker processes; never fewer than there
        are threads to make them.
    """

    source: str = "digits"
    data_dir: str | None = None
    train_split: str = "train"
    eval_split: str = "test"
    test_split: str | None = None
    image_size: int = 224
    padding: int = 0
    channels: int | None = None
    normalization: Normalization | None = "mean"
    decode: Decode = "exact"
    on_error: Literal["stop", "skip"] = "stop"
    workers: int = 0
    threads: int = 8
    prefetch: int = 4

    def check(self) -> None:
        """Raises `UserError` for a value that cannot work, whatever the other groups say."""
        for field, least in (
            ("image_size", 1),
            ("padding", 0),
            ("workers", 0),
            ("threads", 1),
            ("prefetch", 1),
        ):
            value = getattr(self, field)
            if value < least:
                raise UserError(f"data.{field} is {value}; give {least} or more.")
        if self.channels not in (None, 1, 3):
            raise UserError(f"data.channels is {self.channels}; give 1, 3, or None.")
        if self.normalization is not None and self.normalization not in get_args(Normalization):
            raise unknown_name("data.normalization", self.normalization, get_args(Normalization))
        if self.decode not in get_args(Decode):
            raise unknown_name("data.decode", self.decode, get_args(Decode))
        if self.on_error not in ("stop", "skip"):
            raise unknown_name("data.on_error", self.on_error, ("stop", "skip"))
