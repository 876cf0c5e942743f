"""The uint8 batch of a step, a pure function of (seed, step), on any number of processes.

`TrainBatches` and `EvalBatches` give any batch by its number and hold no position; `iterate` reads
a stretch of either ahead of time, in threads and worker processes. However many of those there
are, and however many processes share the global batch, the bits of it are the same.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import grain
import numpy as np

from jaxcnn.data.crops import AugmentConfig, eval_view, train_view
from jaxcnn.data.decode import decode
from jaxcnn.data.prefetch import Batches, read_ahead
from jaxcnn.data.sources import Source
from jaxcnn.data.views import View
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.randomness import Purpose, host_generator

Normalization = Literal["unit", "half", "lenet", "mean", "mean_std", "mean_image_std", "pixel_mean"]

Batch = dict[str, np.ndarray]
"""This process's part of a global batch, b examples.

``'image'``: uint8 ``(b, height, width, channels)``. ``'label'``: int32 ``(b,)``. ``'index'``: int32
``(b,)``, the position in the source; -1 for padding. ``'weight'``: float32 ``(b,)``; 1, or 0 for
what must not count: padding, and the images that `DataConfig.on_error` skipped, whose index is not
negative. The image and the label of both are zeros.
"""


PADDING = -1
"""The index of what only fills the last evaluation batch."""


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
      on_error: what to do about an image that cannot be read: 'stop', or 'skip' it and count it; a
        black image takes its place in a training batch, with no weight in the loss (but a part in
        the batch's statistics, where the network has BatchNorm).
      workers: worker processes that read and decode. 0: threads of the main process do.
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
        if self.on_error not in ("stop", "skip"):
            raise unknown_name("data.on_error", self.on_error, ("stop", "skip"))


@dataclasses.dataclass(frozen=True, eq=False)
class _Batches:
    """What training and evaluation share: views of examples, in batches that processes share."""

    source: Source
    _: dataclasses.KW_ONLY
    config: DataConfig
    augment: AugmentConfig
    batch_size: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        self.config.check()
        self.augment.check()
        self.augment.check_crop(self.config.image_size, self.config.padding)
        if self.batch_size < 1:
            raise UserError(f"the batch size is {self.batch_size}; give 1 or more.")
        if self.batch_size % self.process_count:
            raise UserError(
                f"the batch size of {self.batch_size} cannot be shared evenly by "
                f"{self.process_count} processes; make it a multiple of their number."
            )

    def _positions(self, number: int) -> range:
        """Where this process's slice of a global batch lies when all batches are laid in a row."""
        local_size = self.batch_size // self.process_count
        start = number * self.batch_size + self.process_index * local_size
        return range(start, start + local_size)

    def _batch(self, indices: Sequence[int], views: Sequence[View]) -> Batch:
        count, size = len(indices), self.config.image_size
        channels = self.config.channels or self.source.channels
        images = np.zeros((count, size, size, channels), np.uint8)
        labels = np.zeros(count, np.int32)
        weights = np.zeros(count, np.float32)
        for row, (index, view) in enumerate(zip(indices, views, strict=True)):
            if index == PADDING:
                continue
            try:
                data, label, name = self.source[index]
                image = decode(data, channels, shorter_side=view.shorter_side, name=name)
            except UserError:
                if self.config.on_error == "stop":
                    raise
                continue
            images[row], labels[row], weights[row] = view.apply(image), label, 1
        return {
            "image": images,
            "label": labels,
            "index": np.asarray(indices, np.int32),
            "weight": weights,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class TrainBatches(_Batches):
    """The training batch of every step of a run, ``batches[step]``, as this process has it.

    An epoch is floor(N / B) steps over a new order of the N examples; those left over, others in
    each epoch, are not used in it. Nothing is read before a batch is asked for.

    Attributes:
      source: the training images.
      config: their form.
      augment: how they vary.
      batch_size: examples in a global batch, B, over all processes.
      process_index: which of the processes that share each global batch this is.
      process_count: how many they are.
      seed: of the order of the examples and of how they vary.

    Raises:
      UserError: the settings cannot work, or there are fewer examples than B.
    """

    _: dataclasses.KW_ONLY
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps_per_epoch:
            raise UserError(
                f"'{self.source.name}' has {len(self.source)} training images, which do not fill "
                f"one batch of {self.batch_size}; make train.batch_size smaller."
            )

    @property
    def steps_per_epoch(self) -> int:
        """floor(N / B)."""
        return len(self.source) // self.batch_size

    def __getitem__(self, step: int) -> Batch:
        """This process's contiguous slice of the global batch of a step."""
        epoch, number = divmod(step, self.steps_per_epoch)
        indices = shuffled(self._positions(number), len(self.source), self.seed, epoch)
        views = [
            train_view(
                self.augment,
                self.config.image_size,
                host_generator(self.seed, Purpose.CROP, step, index),
                padding=self.config.padding,
            )
            for index in indices
        ]
        return self._batch(indices, views)


@dataclasses.dataclass(frozen=True, eq=False)
class EvalBatches(_Batches):
    """Every example of a source exactly once, in the source's order; the last batch is padded.

    Attributes:
      source: the images.
      config: their form.
      augment: at what scale their centre is cropped.
      batch_size: examples in a global batch over all processes; any number that devices can share.
      process_index: which of the processes that share each global batch this is.
      process_count: how many they are.

    Raises:
      UserError: the settings cannot work.
    """

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        """This process's contiguous slice of a global batch; it may be nothing but padding."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no batch {number} of {len(self)}")
        indices = [
            position if position < len(self.source) else PADDING
            for position in self._positions(number)
        ]
        view = eval_view(self.augment, self.config.image_size, padding=self.config.padding)
        return self._batch(indices, [view] * len(indices))


def shuffled(positions: Sequence[int], count: int, seed: int, epoch: int) -> list[int]:
    """Which of `count` examples stand at given positions of the order of an epoch.

    The order is a permutation that is computed at any position by itself (a block cipher on the
    positions), so that ImageNet's is neither made nor kept whole.
    """
    epoch_seed = int(host_generator(seed, Purpose.SHUFFLE, epoch).integers(2**32))
    return [
        grain.experimental.index_shuffle(position, max_index=count - 1, seed=epoch_seed, rounds=4)
        for position in positions
    ]


def iterate(
    batches: Batches, start: int, stop: int, config: DataConfig
) -> contextlib.AbstractContextManager[Iterator[Batch]]:
    """Reads the batches from number `start` to before `stop` ahead of time, as configured.

    Used as ``with iterate(batches, 0, 100, config) as stream: for batch in stream: ...``; see
    `jaxcnn.data.prefetch.read_ahead`.
    """
    return read_ahead(
        batches,
        start,
        stop,
        workers=config.workers,
        threads=config.threads,
        prefetch=config.prefetch,
    )
