"""What a network answers to each image of a set, from all that it was shown of it."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from jaxcnn.evaluation.buckets import Batch, Buckets, Item
from jaxcnn.progress import Progress

LISTED = 5
"""How many of the most probable classes are kept of each answer."""

_IN_FLIGHT = 2  # batches given to the devices before the answers of the first are waited for

Answer = Callable[[np.ndarray], Sequence[Any]]
"""From views, of images in the first axis, to the probabilities that each network gives them.

They may be arrays that devices still compute, of any leading axes whose rows are in order.
"""


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers to n images, a row for each.

    Attributes:
      index: int32 ``(n,)``, the image's position in its source.
      label: int32 ``(n,)``.
      rank: int32 ``(n,)``, how many classes come before the label's; 0 is a correct answer. Equal
        probabilities are ordered by class. What is not a number is no correct answer.
      classes: int32 ``(n, k)``, the most probable classes, the first one first; k is 5, or all.
      probabilities: float32 ``(n, k)``, theirs.
      names: bytes ``(n,)``, what the images are called, in UTF-8.
    """

    index: np.ndarray
    label: np.ndarray
    rank: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def in_order(self) -> Self:
        """Sorted by index."""
        order = np.argsort(self.index, kind="stable")
        fields = {f.name: getattr(self, f.name)[order] for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


def answer_all(
    images: Iterable[Mapping[str, np.ndarray]],
    answer: Answer,
    buckets: Buckets,
    *,
    looks: int,
    networks: int,
    num_classes: int,
    progress: Progress,
    share: int = 1,
) -> tuple[Answers, int]:
    """The answers to a stream of images, of which the views are put together in batches.

    The probabilities of all looks of all networks are averaged evenly, in one order whatever the
    batches: Simonyan & Zisserman 2014, sections 3.2 and 4.2 to 4.4.

    Args:
      images: of each ``'view0'``, ``'view1'``, ... by look, ``'label'``, ``'index'``, ``'name'``
        (UTF-8) and ``'weight'``, which is 0 where the image could not be read.
      answer: the networks.
      buckets: put batches together.
      looks: views of an image.
      networks: how many answers ``answer`` gives.
      num_classes: of each answer.
      progress: counts the images.
      share: how many processes go through as many images each.

    Returns:
      The answers in the order of the images, and how many images could not be read.
    """
    rows: list[tuple[Any, ...]] = []
    skipped = correct = 0
    # Of images that are not done: the facts, the probabilities so far, how many are missing.
    open_images: dict[int, tuple[Mapping[str, np.ndarray], np.ndarray, list[int]]] = {}
    sent: collections.deque[tuple[Batch, Sequence[Any]]] = collections.deque()

    def receive() -> None:
        nonlocal correct
        batch, answers = sent.popleft()
        found = [np.asarray(a).reshape(-1, num_classes) for a in answers]
        for row, (image, look) in enumerate(batch.places):
            facts, probabilities, missing = open_images[image]
            for network, of_network in enumerate(found):
                probabilities[network, look] = of_network[row]
            missing[0] -= 1
            if not missing[0]:
                del open_images[image]
                mean = probabilities.mean(axis=(0, 1), dtype=np.float64)
                rows.append(_answer(mean, facts))
                correct += rows[-1][2] == 0
                progress.show(top1_error=1 - correct / len(rows))
                progress.advance(share)

    def batches() -> Iterator[Batch]:
        nonlocal skipped
        for number, image in enumerate(images):
            if not image["weight"]:
                skipped += 1
                progress.advance(share)
                continue
            views = [image[f"view{look}"] for look in range(looks)]
            facts = {name: image[name] for name in ("index", "label", "name")}
            probabilities = np.zeros((networks, looks, num_classes), np.float32)
            open_images[number] = facts, probabilities, [looks]
            for look, shown in enumerate(views):
                yield from buckets.add(Item(number, look, shown))
        yield from buckets.rest()

    for batch in batches():
        sent.append((batch, answer(batch.views)))
        if len(sent) > _IN_FLIGHT:
            receive()
    while sent:
        receive()
    return _table(rows, min(LISTED, num_classes)).in_order(), skipped


def _answer(probabilities: np.ndarray, facts: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    """A row of `Answers`."""
    label = int(facts["label"])
    order = np.argsort(-probabilities, kind="stable")
    rank = int(np.flatnonzero(order == label)[0])
    if np.isnan(probabilities).any():
        rank = len(probabilities)
    first = order[:LISTED]
    name = facts["name"].tobytes()
    return int(facts["index"]), label, rank, first, probabilities[first], name


def _table(rows: Sequence[tuple[Any, ...]], listed: int) -> Answers:
    index, label, rank, classes, probabilities, names = (
        zip(*rows, strict=True) if rows else ((),) * 6
    )
    return Answers(
        index=np.array(index, np.int32),
        label=np.array(label, np.int32),
        rank=np.array(rank, np.int32),
        classes=np.array(classes, np.int32).reshape(-1, listed),
        probabilities=np.array(probabilities, np.float32).reshape(-1, listed),
        names=np.array(names, np.bytes_),
    )
