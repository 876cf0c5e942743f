"""Sums and counts: what is correct, and that every example counts once however it is batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.results import class_accuracy
from jaxcnn.training.metrics import (
    ClassSums,
    Sums,
    label_rank,
    means,
    measure,
    measure_classes,
)


def test_the_rank_counts_the_classes_before_the_label():
    logits = jnp.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])
    np.testing.assert_array_equal(label_rank(logits, jnp.array([0, 0, 0])), [0, 2, 1])


def test_equal_logits_are_ordered_as_argmax_orders_them():
    logits = jnp.zeros((3, 3))
    np.testing.assert_array_equal(label_rank(logits, jnp.array([0, 1, 2])), [0, 1, 2])


def test_a_logit_that_is_not_a_number_is_never_correct():
    nan = jnp.nan
    logits = jnp.array([[nan, nan], [nan, 0.0], [0.0, nan]])
    assert all(label_rank(logits, jnp.array([0, 0, 0])) > 0)


def test_top_five():
    logits = jnp.arange(10.0)[None, ::-1]
    labels = jnp.arange(10)
    sums = measure(jnp.repeat(logits, 10, 0), labels, jnp.ones(10), jnp.ones(10))
    assert (int(sums.correct), int(sums.correct_top5), int(sums.count)) == (1, 5, 10)


@pytest.mark.parametrize("batch", [1, 7, 64, 100])
def test_counts_do_not_depend_on_the_batch(batch):
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(100, 10)), random.integers(0, 10, 100)
    losses = random.exponential(size=100)
    whole = measure_classes(*map(jnp.asarray, (logits, labels, np.ones(100), losses)))
    sums = ClassSums.zeros(10)
    for start in range(0, 100, batch):
        part = slice(start, start + batch)
        missing = batch - len(labels[part])
        sums += measure_classes(
            jnp.pad(jnp.asarray(logits[part]), ((0, missing), (0, 0))),
            jnp.pad(jnp.asarray(labels[part]), (0, missing)),
            jnp.pad(jnp.ones(len(labels[part])), (0, missing)),
            jnp.pad(jnp.asarray(losses[part]), (0, missing), constant_values=np.nan),
        )
    assert int(sums.total.count) == 100
    assert int(sums.total.correct) == int(np.sum(logits.argmax(1) == labels))
    np.testing.assert_array_equal(sums.count, np.bincount(labels, minlength=10))
    np.testing.assert_array_equal(sums.correct, whole.correct)
    np.testing.assert_allclose(sums.total.loss, losses.sum(), rtol=1e-5)


def test_means_divide_once():
    sums = Sums(
        loss=jnp.float32(6), correct=jnp.int32(1), correct_top5=jnp.int32(2), count=jnp.int32(4)
    )
    assert means(sums) == {"loss": 1.5, "accuracy": 0.25, "top5": 0.5}
    assert all(np.isnan(v) for v in means(Sums.zeros()).values())


def test_accuracy_of_each_class():
    sums = jax.tree.map(np.asarray, ClassSums.zeros(3)).replace(
        correct=np.array([1, 0, 0]), count=np.array([2, 1, 0])
    )
    assert class_accuracy(sums.correct, sums.count, ("cat", "dog", "owl")) == {
        "cat": {"accuracy": 0.5, "correct": 1, "count": 2},
        "dog": {"accuracy": 0.0, "correct": 0, "count": 1},
        "owl": {"accuracy": None, "correct": 0, "count": 0},
    }
