"""Metrics as sums and counts, divided once at the end, so that every example counts exactly once.

The same sums come out however examples are grouped into batches, devices and processes.
"""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Sums:
    """What is added up over examples; scalars are float32 or int32.

    Attributes:
      loss: sum of the losses, in nats.
      correct: examples whose highest logit is the label's.
      correct_top5: examples whose label is among the five highest logits.
      count: examples counted; padding and skipped images are not.
    """

    loss: jax.Array
    correct: jax.Array
    correct_top5: jax.Array
    count: jax.Array

    @classmethod
    def zeros(cls) -> "Sums":
        """Sums over no example."""
        return cls(
            loss=jnp.zeros((), jnp.float32),
            correct=jnp.zeros((), jnp.int32),
            correct_top5=jnp.zeros((), jnp.int32),
            count=jnp.zeros((), jnp.int32),
        )

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)


@struct.dataclass
class ClassSums:
    """An evaluation's sums: those of all examples, and the counts of each class.

    Attributes:
      total: the sums over all classes.
      correct: int32 of shape ``(classes,)``, correct examples by label.
      count: int32 of shape ``(classes,)``, examples by label.
    """

    total: Sums
    correct: jax.Array
    count: jax.Array

    @classmethod
    def zeros(cls, num_classes: int) -> "ClassSums":
        """Sums over no example of ``num_classes`` classes."""
        none = jnp.zeros((num_classes,), jnp.int32)
        return cls(total=Sums.zeros(), correct=none, count=none)

    def __add__(self, other: "ClassSums") -> "ClassSums":
        return jax.tree.map(jnp.add, self, other)


def label_rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes come before the label's, int32 ``(n,)``: 0 is a correct answer.

    Equal logits are ordered by class, as argmax orders them. A logit that is not a number never
    makes an answer correct: it is counted as coming before the label's, and so is every logit
    when the label's own is not a number.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    before = jnp.arange(logits.shape[1])[None, :] < labels[:, None]
    ahead = ~(logits <= own) | ((logits == own) & before)
    return jnp.sum(ahead, axis=1, dtype=jnp.int32)


def measure(logits: jax.Array, labels: jax.Array, weights: jax.Array, losses: jax.Array) -> Sums:
    """The sums of a batch.

    Args:
      logits: float of shape ``(n, classes)``.
      labels: int of shape ``(n,)``.
      weights: float of shape ``(n,)``: 1 for an example that counts, 0 for padding.
      losses: float of shape ``(n,)``, in nats.
    """
    counts = weights > 0
    rank = label_rank(logits, labels)
    return Sums(
        loss=jnp.sum(jnp.where(counts, losses, 0), dtype=jnp.float32),
        correct=jnp.sum(counts & (rank == 0), dtype=jnp.int32),
        correct_top5=jnp.sum(counts & (rank < 5), dtype=jnp.int32),
        count=jnp.sum(counts, dtype=jnp.int32),
    )


def measure_classes(
    logits: jax.Array, labels: jax.Array, weights: jax.Array, losses: jax.Array
) -> ClassSums:
    """The sums of a batch with the counts of each class; arguments as of ``measure``."""
    counts = (weights > 0).astype(jnp.int32)
    correct = counts * (label_rank(logits, labels) == 0)
    none = jnp.zeros((logits.shape[1],), jnp.int32)
    return ClassSums(
        total=measure(logits, labels, weights, losses),
        correct=none.at[labels].add(correct),
        count=none.at[labels].add(counts),
    )


def means(sums: Sums) -> dict[str, float]:
    """Mean loss in nats, and top-1 and top-5 accuracy in [0, 1]; of no example, not a number."""
    count = int(sums.count) or float("nan")
    return {
        "loss": float(sums.loss) / count,
        "accuracy": int(sums.correct) / count,
        "top5": int(sums.correct_top5) / count,
    }
