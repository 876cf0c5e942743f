"""The loss of a batch and its gradients: the whole batch at once, or in parts that follow in turn.

This is where a step's memory goes: into what the forward pass leaves for the backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from jaxcnn.randomness import Purpose, device_key
from jaxcnn.training.layer_patterns import chosen_leaves, running_statistics
from jaxcnn.training.micro_batches import masks_of_the_batch, part, whole
from jaxcnn.training.rematerialization import rematerialized

# From logits (n, classes) and targets to the loss of each example (n,).
Loss = Callable[[jax.Array, jax.Array], jax.Array]


@struct.dataclass
class Gradients:
    """What a batch gives, or under pmap a device's share of it.

    Attributes:
      total: its share of the loss that is minimised, a scalar in nats.
      params: that share's gradients.
      batch_stats: the running statistics after the batch.
      logits: of the network's own classifier, shape ``(n, classes)``.
      losses: of its examples, shape ``(n,)``, in nats.
    """

    total: jax.Array
    params: Any
    batch_stats: Any
    logits: jax.Array
    losses: jax.Array


def kept(frozen: Any, before: Any, after: Any) -> Any:
    """``after``, but of frozen layers ``before``: not even -0.0 may become 0.0."""
    return jax.tree.map(lambda stays, b, a: b if stays else a, frozen, before, after)


def make_gradients(
    model: nn.Module,
    loss: Loss,
    *,
    seed: int,
    auxiliary_weight: float,
    freeze: str | None,
    accumulate: int,
    remat: bool,
) -> Callable[..., Gradients]:
    """The function that differentiates a batch's loss.

    In parts everything is as in one, but for rounding, unless the network has BatchNorm: each part
    is normalised by its own statistics, and the running ones move once, by the mean over the parts.

    Args:
      model: the network.
      loss: of each example.
      seed: the run's seed, for the dropout masks.
      auxiliary_weight: of each auxiliary classifier's loss.
      freeze: the pattern of layers whose gradients are zero, and statistics as they were.
      accumulate: in how many parts; it divides the batch, and each device's share of it.
      remat: compute again for the backward pass what the forward pass would leave for it.

    Returns:
      A function of (state, images, targets, weights, counted), the last one being the sum of the
      weights over the global batch.
    """

    def gradients(
        state: Any, images: jax.Array, targets: jax.Array, weights: jax.Array, counted: jax.Array
    ) -> Gradients:
        key = device_key(seed, Purpose.DROPOUT, state.step)
        frozen = chosen_leaves(freeze, state.params)
        statistics = {"batch_stats": state.batch_stats}

        def loss_function(
            params: Any, images: jax.Array, targets: jax.Array, weights: jax.Array
        ) -> tuple[jax.Array, tuple[Any, jax.Array, jax.Array]]:
            with nn.intercept_methods(running_statistics(freeze)):
                logits, updated = model.apply(
                    # What is kept is no function of `params`: no gradient is computed for it.
                    {**statistics, "params": kept(frozen, state.params, params)},
                    images,
                    train=True,
                    rngs={"dropout": key},
                    mutable=["batch_stats", "aux_logits"],
                )
            own = losses = loss(logits, targets)
            for auxiliary in jax.tree.leaves(updated.get("aux_logits", {})):
                losses += auxiliary_weight * loss(auxiliary, targets)
            # These examples' share of the mean over the global batch.
            share = jnp.sum(weights * losses) / counted
            return share, (updated.get("batch_stats", {}), logits, own)

        if remat:
            loss_function = rematerialized(loss_function)

        def differentiated(rows: Any) -> Gradients:
            differentiate = jax.value_and_grad(loss_function, has_aux=True)
            (total, others), params = differentiate(state.params, *rows)
            return Gradients(total, params, *others)

        batch = images, targets, weights
        if accumulate == 1:
            return differentiated(batch)

        def add(sums: Any, index: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            images, *others = part(batch, index, accumulate)
            # Zero, but XLA cannot know that nothing is NaN: no part is begun before the gradients
            # of the last one are there, or they would all be in memory together.
            last = sum(x[(0,) * x.ndim] for x in jax.tree.leaves(sums[1]))
            images += jnp.where(jnp.isnan(last), last, 0).astype(images.dtype)
            with nn.intercept_methods(masks_of_the_batch(index, accumulate)):
                own = differentiated((images, *others))
            sums = jax.tree.map(jnp.add, sums, (own.total, own.params, own.batch_stats))
            return sums, (own.logits, own.losses)

        zeros = jax.tree.map(jnp.zeros_like, (counted, state.params, state.batch_stats))
        # On CPU a convolution in a loop is many times slower (seen in what jax 0.10 compiles).
        unroll = accumulate if jax.default_backend() == "cpu" else 1
        (total, params, stats), outputs = jax.lax.scan(
            add, zeros, jnp.arange(accumulate), unroll=unroll
        )
        return Gradients(
            total,
            params,
            kept(
                chosen_leaves(freeze, state.batch_stats),
                state.batch_stats,
                jax.tree.map(lambda x: x / accumulate, stats),
            ),
            *whole(outputs),
        )

    return gradients
