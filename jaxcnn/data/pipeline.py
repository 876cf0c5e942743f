"""The uint8 batch of a step, a pure function of (seed, step), on any number of processes.

`TrainBatches` and `EvalBatches` give any batch by its number and hold no position; `iterate` reads
a stretch of either ahead of time, in threads and worker processes. However many of those there
are, and however many processes share the global batch, the bits of it are the same.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from jaxcnn.data.crops import AugmentConfig, eval_view, train_view
from jaxcnn.data.data_config import DataConfig, Decode
from jaxcnn.data.jpeg import check_library
from jaxcnn.data.prefetch import Batches, read_ahead
from jaxcnn.data.reading import read_view
from jaxcnn.data.sources import Source
from jaxcnn.data.views import View
from jaxcnn.errors import UserError
from jaxcnn.randomness import Purpose, host_generator

Batch = dict[str, np.ndarray]
"""This process's part of a global batch, b examples.

``'image'``: uint8 ``(b, height, width, channels)``. ``'label'``: int32 ``(b,)``. ``'index'``: int32
``(b,)``, the position in the source; -1 for padding. ``'weight'``: float32 ``(b,)``; 1, or 0 for
what must not count: padding, and the images that `DataConfig.on_error` skipped, whose index is not
negative. The image and the label of both are zeros.
"""


PADDING = -1
"""The index of what only fills the last evaluation batch."""


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
        if self.config.decode == "fast":
            check_library()
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

    def empty(self) -> Batch:
        """A batch of nothing but padding, of the shapes of all others; nothing is read for it."""
        size, channels = self.config.image_size, self.config.channels or self.source.channels
        count = self.batch_size // self.process_count
        return {
            "image": np.zeros((count, size, size, channels), np.uint8),
            "label": np.zeros(count, np.int32),
            "index": np.full(count, PADDING, np.int32),
            "weight": np.zeros(count, np.float32),
        }

    def _batch(self, indices: Sequence[int], views: Sequence[View], decode: Decode) -> Batch:
        batch = self.empty()
        for row, (index, view) in enumerate(zip(indices, views, strict=True)):
            if index == PADDING:
                continue
            try:
                data, label, name = self.source[index]
                read_view(data, view, batch["image"][row], decode=decode, name=name)
            except UserError:
                if self.config.on_error == "stop":
                    raise
                continue
            batch["label"][row], batch["weight"][row] = label, 1
        return batch | {"index": np.asarray(indices, np.int32)}


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

    def indices(self, step: int) -> list[int]:
        """The examples of the whole global batch of a step, in its order, on any process."""
        epoch, number = divmod(step, self.steps_per_epoch)
        positions = range(number * self.batch_size, (number + 1) * self.batch_size)
        return shuffled(positions, len(self.source), self.seed, epoch)

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
        return self._batch(indices, views, self.config.decode)


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
        return self._batch(indices, [view] * len(indices), "exact")


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
