"""The names of ImageNet's classes; where they come from says the file that holds them."""

import functools
from collections.abc import Sequence
from importlib import resources

IMAGENET_CLASSES = 1000


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """A name for each of the 1000 classes of ILSVRC-2012, by logit, such as ``'tench'``."""
    return tuple(name for _, name in _rows())


@functools.cache
def imagenet_ids() -> tuple[str, ...]:
    """WordNet's id of each of them, by logit, such as ``'n01440764'``.

    They are the names of the classes' folders, and what TFDS calls the classes.
    """
    return tuple(wordnet_id for wordnet_id, _ in _rows())


def same_classes(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order, ImageNet's by name or by id."""
    ids = imagenet_ids()
    first, second = (ids if tuple(n) == imagenet_names() else tuple(n) for n in (names, others))
    return first == second


def _rows() -> list[list[str]]:
    text = resources.files("jaxcnn.pretrained").joinpath("imagenet_classes.txt").read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
