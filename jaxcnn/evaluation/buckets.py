"""Views of many shapes put together in batches of one shape, in bounded memory.

A program is compiled for every shape of a batch. Whole images, cut to multiples of a network's
stride, have few; each shape has a bucket, and every batch of it the same number of places.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Item(NamedTuple):
    """What one image shows at one look.

    Attributes:
      image: the image's number.
      look: the look's number.
      views: uint8; its shape says in which batches it can stand.
    """

    image: int
    look: int
    views: np.ndarray


class Batch(NamedTuple):
    """Items of one shape.

    Attributes:
      places: the image and the look of each row.
      views: uint8, a row for each item, and rows of zeros up to the size of a batch.
    """

    places: tuple[tuple[int, int], ...]
    views: np.ndarray


class Buckets:
    """Items by shape; what comes out is a function of the order in which they went in.

    Args:
      batch_size: how many items of a shape make a batch.
      room: bytes that may wait in all buckets together. When there are more, the bucket with the
        most of them is given out as it is.
    """

    def __init__(self, batch_size: Callable[[tuple[int, ...]], int], *, room: int = 2**29) -> None:
        self._batch_size, self._room = batch_size, room
        self._buckets: dict[tuple[int, ...], list[Item]] = {}
        self._waiting = 0
        self.shapes: set[tuple[int, ...]] = set()

    def add(self, item: Item) -> Iterator[Batch]:
        """Puts an item in its bucket, and gives out what is then full or too much."""
        shape = item.views.shape
        self.shapes.add(shape)
        bucket = self._buckets.setdefault(shape, [])
        bucket.append(item)
        self._waiting += item.views.nbytes
        if len(bucket) == self._batch_size(shape):
            yield self._take(shape)
        while self._waiting > self._room:
            yield self._take(max(self._buckets, key=self._bytes))

    def rest(self) -> Iterator[Batch]:
        """Gives out all that still waits."""
        while self._buckets:
            yield self._take(next(iter(self._buckets)))

    def _bytes(self, shape: tuple[int, ...]) -> int:
        return sum(item.views.nbytes for item in self._buckets[shape])

    def _take(self, shape: tuple[int, ...]) -> Batch:
        items = self._buckets.pop(shape)
        self._waiting -= sum(item.views.nbytes for item in items)
        views = np.zeros((self._batch_size(shape), *shape), np.uint8)
        for row, item in enumerate(items):
            views[row] = item.views
        return Batch(tuple((item.image, item.look) for item in items), views)
