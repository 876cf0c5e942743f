"""Losses of a classification, of each example; a batch's loss is their mean.

Labels are whole numbers, shape (n,), or distributions over the classes, shape (n, classes), such
as one-hot rows.
"""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy in nats, shape (n,), of the softmax of logits, shape (n, classes)."""
    if jnp.ndim(labels) == 1:
        # The normaliser is subtracted from the label's logit alone, not from every one.
        return logsumexp(logits, axis=-1) - _of_labels(logits, labels)
    return cross_entropy_of_log_probabilities(jax.nn.log_softmax(logits), labels)


def cross_entropy_of_log_probabilities(
    log_probabilities: jax.Array, labels: jax.Array
) -> jax.Array:
    """Cross entropy in nats, shape (n,), of the logarithms of probabilities, (n, classes)."""
    return -_of_labels(log_probabilities, labels)


def cross_entropy_of_probabilities(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy in nats, shape (n,), of probabilities, shape (n, classes).

    A probability of 0 counts as the smallest number of its type (a loss of 87 nats in float32, no
    infinity) and has no gradient. Where there are logits, their own form loses nothing to rounding.
    """
    least = jnp.finfo(jnp.result_type(probabilities)).tiny
    return cross_entropy_of_log_probabilities(jnp.log(jnp.maximum(probabilities, least)), labels)


def maximum_a_posteriori(scores: jax.Array, labels: jax.Array, j: float = 0.1) -> jax.Array:
    """The loss of LeNet-5's radial basis functions (LeCun et al. 1998, equation 9).

    ``y_label + log(exp(-j) + sum over i of exp(-y_i))``, with ``y_i`` the distance to the centre of
    class ``i``. Beside the distance to the right centre, it is the other distances that count, up
    to about ``j``: without that term all of F6 could collapse to one point at no cost.

    Args:
      scores: minus the distances, shape (n, classes), as ``LeNet5Original`` gives them.
      labels: shape (n,), or distributions.
      j: a positive number; classes further away than that are pushed no further.

    Returns:
      Shape (n,); the paper's criterion is the mean of it.
    """
    rubbish = jnp.asarray(-j, scores.dtype)  # the paper's word: a class for what is no digit
    return jnp.logaddexp(rubbish, logsumexp(scores, axis=-1)) - _of_labels(scores, labels)


def smoothed(labels: jax.Array, classes: int, share: float) -> jax.Array:
    """Labels with a share of each spread evenly over all classes, its own included.

    Args:
      labels: whole numbers, shape (n,), or distributions, shape (n, classes).
      classes: how many classes there are.
      share: what is spread, from 0 to 1: 0.1 of Szegedy et al. (2015, section 7).

    Returns:
      Distributions, shape (n, classes).
    """
    if jnp.ndim(labels) == 1:
        labels = jax.nn.one_hot(labels, classes)
    return (1 - share) * labels + share / classes


def _of_labels(values: jax.Array, labels: jax.Array) -> jax.Array:
    """The value of each example's label, or the mean of its values under its distribution."""
    if jnp.ndim(labels) == 1:
        # Not by indices: their gradient would be a scattered addition, which a GPU makes in any
        # order, or slowly. What is added to the one value is 0.
        own = labels[:, None] == jnp.arange(values.shape[-1])
        # A label that is none of the classes must not pass for an example without a loss.
        return jnp.where(own.any(axis=-1), jnp.sum(jnp.where(own, values, 0), axis=-1), jnp.nan)
    # A class of no probability by the label costs nothing, however improbable it is.
    return jnp.sum(jnp.where(labels == 0, 0, labels * values), axis=-1)
