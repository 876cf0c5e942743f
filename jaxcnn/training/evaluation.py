"""Going through an evaluation split with the parameters of a state."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from jaxcnn.progress import Progress
from jaxcnn.training.devices import Layout
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.steps import TrainState


def evaluate(
    state: TrainState,
    eval_step: Callable[[Any, ClassSums, Any], ClassSums],
    batches: AbstractContextManager[Iterator[Mapping[str, np.ndarray]]],
    *,
    layout: Layout,
    num_classes: int,
    stop: StopRequest,
    progress: Progress,
) -> ClassSums:
    """The sums over an evaluation split, on the host.

    Args:
      state: whose variables are evaluated (the averaged ones where there are any).
      eval_step: the compiled step.
      batches: the split's padded batches, this process's slices.
      layout: the devices.
      num_classes: the classes that are counted.
      stop: asked before each batch.
      progress: the bar.

    Raises:
      Interrupted: the run was asked to stop; nothing of the evaluation is kept.
    """
    sums = layout.replicate(ClassSums.zeros(num_classes))
    with batches as iterator:
        for batch in iterator:
            if stop.reached():
                raise Interrupted(int(layout.fetch(state.step)))
            placed = layout.place(batch)
            # No further ahead than a batch: a request to stop is answered, and a hang seen, soon.
            jax.block_until_ready(sums)
            sums = eval_step(state.variables(), sums, placed)
            progress.advance(len(batch["label"]) * layout.share[1])
    return layout.fetch(sums)
