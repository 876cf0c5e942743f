"""BatchNorm's means and variances over many training batches, once the parameters are final.

What the authors of ResNet released is normalised so: "the mean and variance are computed by
average (not moving average) on a sufficiently large training batch after the training procedure".
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.progress import Progress
from jaxcnn.randomness import Purpose, device_key
from jaxcnn.training.devices import Layout
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.layer_patterns import chosen, running_statistics
from jaxcnn.training.steps import Augment, Batch, TrainState

Path = tuple[str, ...]


def _batchs_own(
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """An interceptor for ``nn.intercept_methods`` by which BatchNorm forgets what it had.

    Its running statistics are then the batch's.
    """
    module = context.module
    is_call = isinstance(module, nn.BatchNorm) and context.method_name == "__call__"
    if not is_call or module.momentum == 0:
        return method(*args, **kwargs)
    return module.clone(parent=module.scope, momentum=0.0)(*args, **kwargs)


def make_statistics_step(
    model: nn.Module, augment: Augment, *, seed: int, freeze: str | None = None
) -> Callable[[TrainState, jax.Array, Batch], Any]:
    """The function that gives the statistics that a network's BatchNorms see in one batch.

    The batch is prepared and the network applied as in training, with the parameters that are
    evaluated.

    Args:
      model: the network, with its ``axis_name``.
      augment: augmentation on the device and normalisation.
      seed: the run's seed, for the dropout masks.
      freeze: pattern of layers that are as they are.

    Returns:
      A function of (state, steps since the last one, batch) that gives means and variances in the
      structure of ``batch_stats``; those of frozen layers as they were.
    """

    def statistics_step(state: TrainState, beyond: jax.Array, batch: Batch) -> Any:
        step = state.step + beyond
        images, _ = augment(batch, step)
        with (
            nn.intercept_methods(_batchs_own),
            nn.intercept_methods(running_statistics(freeze)),
        ):
            _, updated = model.apply(
                state.variables(),
                images,
                train=True,
                rngs={"dropout": device_key(seed, Purpose.DROPOUT, step)},
                mutable=["batch_stats", "aux_logits"],
            )
        return updated["batch_stats"]

    return statistics_step


def with_exact_statistics(
    state: TrainState,
    statistics_step: Callable[[TrainState, Any, Any], Any],
    batches: AbstractContextManager[Iterator[Mapping[str, np.ndarray]]],
    *,
    layout: Layout,
    stop: StopRequest,
    progress: Progress,
    freeze: str | None = None,
) -> TrainState:
    """The state whose BatchNorms have the mean and the variance over all the batches together.

    Within a batch a layer sees what the layers below have normalised by that batch's statistics.
    The sums are made on the host in float64, as the difference of squares cancels.

    Args:
      state: after the last step.
      statistics_step: the compiled step.
      batches: training batches that continue those of training, this process's slices.
      layout: the devices.
      stop: asked before each batch.
      progress: the bar.
      freeze: pattern of layers that keep theirs to the bit.

    Raises:
      Interrupted: the run was asked to stop; nothing is kept.
    """
    sums: defaultdict[Path, Any] = defaultdict(float)
    squares: defaultdict[Path, Any] = defaultdict(float)
    count = 0
    with batches as iterator:
        for batch in iterator:
            if stop.reached():
                raise Interrupted(int(layout.fetch(state.step)))
            beyond = layout.replicate(np.int32(count))
            seen = layout.fetch(statistics_step(state, beyond, layout.place(batch)))
            for path, statistic in flatten_dict(seen).items():
                sums[path] += statistic.astype(np.float64)
                squares[path] += statistic.astype(np.float64) ** 2
            count += 1
            progress.advance(len(batch["label"]) * layout.share[1])

    def over_all(path: Path, before: np.ndarray) -> np.ndarray:
        if chosen(freeze, path[:-1]):
            return before
        value = sums[path] / count
        if path[-1] == "var":  # within the batches, and among their means
            of_means = (*path[:-1], "mean")
            value += squares[of_means] / count - (sums[of_means] / count) ** 2
        return value.astype(before.dtype)

    flat = flatten_dict(layout.fetch(state.batch_stats))
    exact = unflatten_dict({path: over_all(path, before) for path, before in flat.items()})
    return dataclasses.replace(state, batch_stats=layout.distribute(exact))
