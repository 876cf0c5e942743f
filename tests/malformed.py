"""What jaxcnn reads; for each kind a function that damages a small one and reads it.

Reading is by the functions that a user's command calls. ``KINDS[name].make(folder)`` writes what is
needed into an empty folder, and gives a function of a random number generator.
"""

import dataclasses
import functools
from collections.abc import Callable

from malformed_data import descriptions, images, records, tars
from malformed_runs import checkpoints, configurations, weights, work_directories


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input; of all inputs of a run it has this share, compared with the others."""

    make: Callable
    share: int


KINDS = {
    "images": Kind(images, 6),
    "tfrecord": Kind(functools.partial(records, "tfrecord"), 2),
    "array_record": Kind(functools.partial(records, "array_record"), 2),
    "descriptions": Kind(descriptions, 2),
    "tars": Kind(tars, 1),
    "weights": Kind(weights, 3),
    "configurations": Kind(configurations, 2),
    "workdirs": Kind(work_directories, 2),
    "checkpoints": Kind(checkpoints, 1),
}
