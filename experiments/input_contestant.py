"""One way to read training batches, in a process of its own that is told when to read.

All make uint8 batches ``(batch, 224, 224, 3)`` of random parts of an image, 0.08 to 1 of its area
and 3:4 to 4:3, resized, mirrored every other time, shuffled, from files that the system has in
memory, each in the format that is its own: array_record here (of pixels, TFRecord), TFRecord for
tf.data, a folder of files for PyTorch. tf.data resizes bilinearly whatever the size, and so do we
when fast; PyTorch takes the mean where an image is reduced, and so do we when exact, from 1.5 on.

The process reads a line of JSON, ``[first, count]``, on stdin, for each round, reads that many
batches in a new iterator to its end, and answers with the seconds and the CPU seconds that it took:
those of all its threads, and of all processes that it started and waited for.
"""

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.turns import answers_alone
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.pipeline import TrainBatches, iterate
from jaxcnn.data.prepared import PreparedSource
from jaxcnn.data.sources import Example

SIZE = 224
Reader = Callable[[int, int], Iterator[Any]]
"""From the first batch and how many to their images."""


class Settings(NamedTuple):
    """What one of them reads, and how.

    Attributes:
      reader: one of `READERS`.
      name: the data set.
      root: the folder that it was prepared in.
      batch: images in a batch.
      threads: threads that read, or, in PyTorch, processes.
    """

    reader: str
    name: str
    root: str
    batch: int
    threads: int

    def source(self) -> PreparedSource:
        """The images."""
        return PreparedSource(self.name, "train", data_dir=self.root)

    def examples(self) -> Iterator[Example]:
        """Each of them once."""
        source = self.source()
        return (source[index] for index in range(len(source)))

    def scratch(self) -> Path:
        """An empty folder for them in another format."""
        folder = Path(self.root) / f"{self.reader}_{self.name}"
        folder.mkdir()
        return folder


@dataclasses.dataclass(frozen=True)
class _Repeated:
    """A few images as if they were ImageNet's many: the shuffled order of few costs more."""

    source: PreparedSource

    name = property(lambda self: self.source.name)
    class_names = property(lambda self: self.source.class_names)
    channels = property(lambda self: self.source.channels)

    def __len__(self) -> int:
        return 1_281_167

    def __getitem__(self, index: int) -> Example:
        return self.source[index % len(self.source)]


def _ours(settings: Settings, decode: Any) -> Reader:
    config = DataConfig(image_size=SIZE, decode=decode, threads=settings.threads)
    batches = TrainBatches(
        _Repeated(settings.source()),
        config=config,
        augment=AugmentConfig(crop="area"),
        batch_size=settings.batch,
        seed=0,
    )

    def read(first: int, count: int) -> Iterator[np.ndarray]:
        with iterate(batches, first, first + count, config) as stream:
            for batch in stream:
                yield batch["image"]

    return read


def _tfdata(settings: Settings) -> Reader:
    import tensorflow as tf

    path = os.fspath(settings.scratch() / "train.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for data, label, _ in settings.examples():
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    fields = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def decoded(record: Any) -> Any:
        parsed = tf.io.parse_single_example(record, fields)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(parsed["image"]),
            tf.zeros([1, 0, 4]),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = [begin[0], begin[1], size[0], size[1]]
        image = tf.image.decode_and_crop_jpeg(parsed["image"], tf.stack(window), channels=3)
        image = tf.image.resize(image, [SIZE, SIZE])
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8), parsed["label"]

    dataset = tf.data.TFRecordDataset(path).repeat().shuffle(1024)
    dataset = dataset.map(decoded, num_parallel_calls=settings.threads)
    dataset = dataset.batch(settings.batch, drop_remainder=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = settings.threads
    dataset = dataset.with_options(options)

    def read(first: int, count: int) -> Iterator[np.ndarray]:
        del first
        for image, _ in dataset.take(count).prefetch(2).as_numpy_iterator():
            yield image

    return read


def _torch(settings: Settings) -> Reader:
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    folder = settings.scratch()
    for index, (data, label, _) in enumerate(settings.examples()):
        path = folder / str(label) / f"{index:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    transform = v2.Compose(
        [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    )
    images = ImageFolder(os.fspath(folder), transform)

    def read(first: int, count: int) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(first)
        sampler = torch.utils.data.RandomSampler(
            images, replacement=True, num_samples=count * settings.batch, generator=generator
        )
        loader = torch.utils.data.DataLoader(
            images, settings.batch, sampler=sampler, num_workers=settings.threads
        )
        for image, _ in loader:
            yield image

    return read


READERS: dict[str, Callable[[Settings], Reader]] = {
    "jaxcnn": lambda settings: _ours(settings, "exact"),
    "jaxcnn_fast": lambda settings: _ours(settings, "fast"),
    "tfdata": _tfdata,
    "torch": _torch,
}
"""The ways to read, by name."""


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Reads rounds as it is told, until its stdin ends."""
    answers = answers_alone()
    settings = Settings(*json.loads(sys.argv[1]))
    read = READERS[settings.reader](settings)
    for line in sys.stdin:
        first, count = json.loads(line)
        seconds, cpu_seconds = time.perf_counter(), _cpu_seconds()
        shapes = [tuple(images.shape) for images in read(first, count)]
        answer = {
            "seconds": time.perf_counter() - seconds,
            "cpu_seconds": _cpu_seconds() - cpu_seconds,
            "images": sum(shape[0] for shape in shapes),
            "shape": shapes[0][1:],
        }
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
