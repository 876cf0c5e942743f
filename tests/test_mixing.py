import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxcnn.mixing import Mixing

COUNT, SIDE, CLASSES = 600, 12, 7
KEY = jax.random.key(3)


def batch(count=COUNT, height=SIDE, width=SIDE):
    """Images whose every pixel is their own number; labels, weights and indices."""
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, height, width, 1))
    return images.astype(np.float32), (numbers % CLASSES).astype(np.int32)


@functools.cache
def compiled(mixup, cutmix):
    return jax.jit(Mixing(mixup, cutmix, CLASSES))


def mix(*, mixup=0.0, cutmix=0.0, count=COUNT, height=SIDE, width=SIDE, key=KEY, weights=None):
    images, labels = batch(count, height, width)
    mixed, targets = compiled(mixup, cutmix)(
        jnp.asarray(images),
        jnp.asarray(labels),
        weights=jnp.ones(count) if weights is None else jnp.asarray(weights),
        indices=jnp.arange(count) + 100,
        key=key,
    )
    return np.asarray(mixed)[..., 0], np.asarray(targets)


def shares(targets):
    """How much of each label is the image's own; its neighbour's is another, as they follow."""
    return targets[np.arange(len(targets)), np.arange(len(targets)) % CLASSES]


def expected_targets(own):
    numbers = np.arange(len(own))
    return (
        own[:, None] * np.eye(CLASSES)[numbers % CLASSES]
        + (1 - own)[:, None] * np.eye(CLASSES)[(numbers - 1) % len(own) % CLASSES]
    )


def test_mixup_blends_pictures_and_labels_alike():
    mixed, targets = mix(mixup=0.4)
    own = shares(targets)
    np.testing.assert_allclose(targets, expected_targets(own), atol=1e-6)
    numbers = np.arange(COUNT)
    expected = own * numbers + (1 - own) * np.roll(numbers, 1)
    np.testing.assert_allclose(mixed, expected[:, None, None] + 0 * mixed, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_ratios_of_mixup_are_from_the_beta_distribution(alpha):
    own = shares(mix(mixup=alpha)[1])
    assert stats.kstest(own, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert own.min() >= 0
    assert own.max() <= 1
    # Each image has its own.
    assert abs(np.corrcoef(own[1:], own[:-1])[0, 1]) < 0.1


@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 20)])
def test_cutmix_replaces_a_rectangle_and_as_much_of_the_label(height, width):
    mixed, targets = mix(cutmix=1.0, height=height, width=width)
    own = shares(targets)
    np.testing.assert_allclose(targets, expected_targets(own), atol=1e-6)
    for number in range(COUNT):
        other = (number - 1) % COUNT
        inside = mixed[number] == other
        assert ((mixed[number] == number) | inside).all()
        assert own[number] == pytest.approx(1 - inside.mean(), abs=1e-6)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if len(rows):
            assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert inside.sum() == len(rows) * len(columns)


def test_rectangles_of_cutmix_are_distributed_as_in_the_authors_code():
    def plain(generator):
        ratio = generator.beta(1.0, 1.0)
        half = int(SIDE * np.sqrt(1 - ratio)) // 2
        edges = []
        for _ in range(2):
            centre = generator.integers(SIDE)
            edges += [np.clip(centre - half, 0, SIDE), np.clip(centre + half, 0, SIDE)]
        return 1 - (edges[1] - edges[0]) * (edges[3] - edges[2]) / SIDE**2

    generator = np.random.default_rng(0)
    expected = [plain(generator) for _ in range(4000)]
    own = np.concatenate([shares(mix(cutmix=1.0, key=jax.random.key(k))[1]) for k in range(4)])
    assert np.mean(own) == pytest.approx(np.mean(expected), abs=0.02)
    levels = np.linspace(0.05, 0.95, 10)
    cumulative = [
        np.mean(np.array(values)[:, None] <= levels, axis=0) for values in (own, expected)
    ]
    assert np.abs(cumulative[0] - cumulative[1]).max() < 0.04


def test_given_both_each_step_does_one_of_them():
    """CutMix leaves whole numbers, mixup none (but where the ratio is 0 or 1)."""
    cut = []
    for step in range(60):
        mixed = mix(mixup=1.0, cutmix=1.0, count=16, key=jax.random.key(step))[0]
        whole = (mixed == np.round(mixed)).all(axis=(1, 2))
        assert whole.all() or whole.sum() <= 1
        cut.append(whole.all())
    assert 15 < sum(cut) < 45


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_what_does_not_count_is_mixed_into_nothing(kind):
    weights = np.ones(20, np.float32)
    weights[[4, 11, 12, 19]] = 0
    mixed, targets = mix(**{kind: 1.0}, count=20, weights=weights)
    usual = mix(**{kind: 1.0}, count=20)
    for number in range(20):
        if weights[number] and weights[number - 1]:
            np.testing.assert_array_equal(mixed[number], usual[0][number])
            np.testing.assert_array_equal(targets[number], usual[1][number])
        else:
            np.testing.assert_array_equal(mixed[number], number)
            np.testing.assert_array_equal(targets[number], np.eye(CLASSES)[number % CLASSES])


def test_under_a_fixed_key_the_numbers_are_these():
    """The numbers of a run must not change from version to version."""
    mixup = [0.1717499, 0.9657099, 0.0614438, 0.0022803, 0.9778121]
    np.testing.assert_allclose(shares(mix(mixup=0.2, count=5)[1]), mixup, atol=1e-5)
    left = shares(mix(cutmix=1.0, count=5)[1]) * SIDE**2
    np.testing.assert_allclose(left, [114, 108, 90, 108, 136], atol=1e-3)
