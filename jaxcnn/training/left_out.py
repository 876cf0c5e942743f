"""An update whose numbers are not finite is left out: the choice, on the device, and its count."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class LeftOut:
    """The updates that were left out; int32 scalars.

    Attributes:
      updates: how many, in the whole training.
      in_a_row: how many since the last update that was made.
      examples: of this epoch's, the examples that would have counted.
    """

    updates: jax.Array
    in_a_row: jax.Array
    examples: jax.Array

    @classmethod
    def none(cls) -> "LeftOut":
        """No update was left out."""
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(3)))

    def after(
        self, finite: jax.Array, *, examples: jax.Array, epoch_starts: jax.Array
    ) -> "LeftOut":
        """The count after one more step.

        Args:
          finite: whether its update was made.
          examples: the examples of it that count.
          epoch_starts: whether it is the first of an epoch.
        """
        before = jnp.where(epoch_starts, 0, self.examples)
        return LeftOut(
            updates=self.updates + jnp.where(finite, 0, 1),
            in_a_row=jnp.where(finite, 0, self.in_a_row + 1),
            examples=before + jnp.where(finite, 0, examples),
        )


def all_finite(tree: Any) -> jax.Array:
    """Whether no floating number of a tree is infinite or NaN, as one bool."""
    floating = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    # Leaf by leaf: each is looked at where it lies, split over devices or not.
    found = (jnp.all(jnp.isfinite(x)) for x in floating)
    return functools.reduce(jnp.logical_and, found, jnp.bool_(True))


def chosen_by(finite: jax.Array | bool, after: Any, before: Any) -> Any:
    """The tree ``after``, or to the bit ``before`` where not ``finite``.

    The choice is a part of what makes ``after``, not a branch around it, so that a donated
    ``before`` is written over. What is made of ``after`` is best made of what is chosen: both
    would otherwise be kept until then.
    """
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(finite, a, b), after, before)
