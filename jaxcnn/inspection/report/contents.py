"""What a page about runs is made of: plain data, of which nothing is trusted."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Filters(NamedTuple):
    """The filters of a convolution that sees images.

    Attributes:
      layer: the convolution's name.
      pictures: uint8, ``(filters, height, width, 3)``; 128 is zero.
      groups: the parts that the filters are in, as many in each, such as AlexNet's two towers.
    """

    layer: str
    pictures: np.ndarray
    groups: int = 1


class Setting(NamedTuple):
    """A field of the configuration.

    Attributes:
      name: dotted, such as ``'optimizer.learning_rate'``; before the dot stands its group.
      meaning: what the field is.
      values: of each run, as they are written on the command line.
      preset: the preset's, where the one run has another.
    """

    name: str
    meaning: str
    values: tuple[str, ...]
    preset: str | None = None

    @property
    def differs(self) -> bool:
        """From the preset, or between the runs."""
        return self.preset is not None or len(set(self.values)) > 1


class Figure(NamedTuple):
    """A number that sums up a run, as it is written, and what there is to say beside it."""

    value: str
    note: str = ""


class Mistake(NamedTuple):
    """An image that was taken for another class than its own.

    Attributes:
      image: uint8, ``(height, width, channels)``, of 1 (grey) or 3 channels (RGB).
      name: what the image is called.
      label: the name of its class.
      answer: the name of the class that it was taken for.
      probability: of the answer.
    """

    image: np.ndarray
    name: str
    label: str
    answer: str
    probability: float


class Answered(NamedTuple):
    """What a network answered to the images of a split.

    Attributes:
      about: which network, images and protocol, a sentence.
      class_names: by label.
      matrix: integers, ``(classes, classes)``: the class that images have, and the one they were
        given.
      mistakes: the most confident ones, the most confident first.
      step: the steps that the network had been trained.
    """

    about: str
    class_names: tuple[str, ...]
    matrix: np.ndarray
    mistakes: tuple[Mistake, ...] = ()
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run; None, or nothing, of what is not.

    Attributes:
      name: by which it is told from the others.
      workdir: its folder.
      network: its name.
      source: the data set.
      state: ``'finished'``, or how far it is, in a few words.
      about: the same in a sentence or two.
      metrics: the lines of ``metrics.jsonl``: ``kind``, ``epoch`` and numbers by name.
      verdict: the figures that sum it up by name, the most important first.
      classes: of each class ``accuracy`` (None: it has no image), ``correct`` and ``count``, by the
        run's own result.
      goodput: seconds by what they were spent on.
      starts: how often it was started.
      environment: hardware and versions by name.
      answered: what the network answers.
      filters: of its first convolution.
      missing: what the page has not, and why, a sentence each.
    """

    name: str
    workdir: str
    network: str
    source: str
    state: str
    about: str
    metrics: Sequence[Mapping[str, Any]] = ()
    verdict: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    goodput: Mapping[str, float] = dataclasses.field(default_factory=dict)
    starts: int = 1
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    answered: Answered | None = None
    filters: Filters | None = None
    missing: tuple[str, ...] = ()
