"""The losses against their formulas in numpy, in the forms that they are published in."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import losses, models
from jaxcnn.errors import UserError
from jaxcnn.models.lenet import targets
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training import criteria

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(scale=3, size=(20, 7)).astype(np.float32)
LABELS = RANDOM.integers(0, 7, 20)


def test_cross_entropy_is_minus_the_log_probability():
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(20), LABELS])
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS), expected, rtol=1e-5)


def test_the_forms_of_the_cross_entropy_agree():
    log_probabilities = jax.nn.log_softmax(LOGITS)
    forms = (
        (losses.cross_entropy, jnp.asarray(LOGITS)),
        (losses.cross_entropy_of_log_probabilities, log_probabilities),
        (losses.cross_entropy_of_probabilities, jax.nn.softmax(LOGITS)),
    )
    expected = losses.cross_entropy(jnp.asarray(LOGITS), LABELS)
    for form, values in forms:
        for labels in (jnp.asarray(LABELS), jax.nn.one_hot(LABELS, 7)):
            chex.assert_shape(form(values, labels), (20,))
            np.testing.assert_allclose(form(values, labels), expected, atol=1e-6, rtol=1e-6)
    smooth = 0.9 * jax.nn.one_hot(LABELS, 7) + 0.1 / 7
    by_hand = -(smooth * log_probabilities).sum(1)
    for form, values in forms:
        np.testing.assert_allclose(form(values, smooth), by_hand, rtol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "map"])
def test_a_smoothed_target_has_a_share_of_every_class(loss):
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(len(LABELS), 7)))
    plain = criteria.LOSSES[loss]
    of_each = jnp.stack([plain(logits, jnp.full(len(LABELS), k)) for k in range(7)])
    expected = 0.9 * plain(logits, LABELS) + 0.1 * of_each.mean(0)
    smoothed = criteria.training_loss(loss, 0.1)
    np.testing.assert_allclose(smoothed(logits, LABELS), expected, rtol=1e-5)
    # Mixed targets are smoothed as whole ones are.
    mixed = 0.3 * jax.nn.one_hot(LABELS, 7) + 0.7 * jax.nn.one_hot((LABELS + 1) % 7, 7)
    other = smoothed(logits, (LABELS + 1) % 7)
    np.testing.assert_allclose(smoothed(logits, mixed), 0.3 * expected + 0.7 * other, rtol=1e-5)
    assert criteria.training_loss(loss, 0.0) is plain


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.maximum_a_posteriori])
def test_a_label_that_is_no_class_does_not_pass_for_one(loss):
    labels = jnp.asarray(LABELS).at[3].set(7)
    given = loss(jnp.asarray(LOGITS), labels)
    assert np.isnan(given[3])
    np.testing.assert_array_equal(np.delete(given, 3), np.delete(loss(LOGITS, LABELS), 3))


def test_a_certain_answer_has_a_finite_loss_and_gradient():
    probabilities = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    total = lambda p: losses.cross_entropy_of_probabilities(p, jax.nn.one_hot([0, 0], 2)).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(total)(probabilities)
    np.testing.assert_allclose(value, -np.log(np.finfo(np.float32).tiny), rtol=1e-6)
    np.testing.assert_array_equal(gradient, [[-1, 0], [0, 0]])
    certain = jnp.array([[0.0, -jnp.inf]])
    assert float(losses.cross_entropy_of_log_probabilities(certain, jnp.eye(2)[:1])[0]) == 0
    assert float(losses.cross_entropy(jnp.array([[0.0, -1e4]]), jnp.array([1]))[0]) == 1e4


def test_maximum_a_posteriori_is_lecuns_criterion():
    distances = RANDOM.uniform(0, 5, (20, 7))
    for j in (0.1, 2.0):
        own = distances[np.arange(20), LABELS]
        expected = own + np.log(np.exp(-j) + np.exp(-distances).sum(1))
        for labels in (jnp.asarray(LABELS), jax.nn.one_hot(LABELS, 7)):
            found = losses.maximum_a_posteriori(jnp.asarray(-distances), labels, j=j)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    # LeCun's own distances are of the order of 84, where the exponentials alone would vanish.
    far = losses.maximum_a_posteriori(jnp.full((1, 10), -1e4), jnp.array([3]))
    np.testing.assert_allclose(far, 1e4 - 0.1, rtol=1e-6)


def test_maximum_a_posteriori_forbids_the_collapse():
    """With trainable centres, all distances zero costs log(classes + e^-j) and no less."""
    centres = targets(10).astype(np.float32)
    minus_distance = lambda x: -((x[:, None] - centres) ** 2).sum(-1)  # noqa: E731
    right, wrong = minus_distance(centres), minus_distance(centres[::-1])
    loss = functools.partial(losses.maximum_a_posteriori, labels=jnp.arange(10))
    collapsed = loss(jnp.zeros((10, 10)))
    assert float(loss(right).max()) < float(collapsed.min()) < float(loss(wrong).min())
    assert float(loss(right).min()) >= 0


# Perceptual.

MODEL = models.VGG(groups=((64, (3, 3)), (128, (3,))), num_classes=3, width=8, initialization="he")
NAMES = ("relu1_1", "relu1_2", "relu2_1")
NORMALISE = Preprocessing(mean=(123.68, 116.78, 103.94), std=(58.4, 57.1, 57.4))


@functools.cache
def see():
    images = jnp.zeros((1, 16, 16, 3))
    variables = jax.jit(MODEL.init)(jax.random.key(0), images)
    return losses.Perception(
        functools.partial(models.features, MODEL, variables, names=NAMES), NORMALISE
    )


def pictures(seed, count=2, size=16):
    return jnp.asarray(
        np.random.default_rng(seed).uniform(20, 230, (count, size, size, 3)).astype(np.float32)
    )


def maps(seed, shape=(2, 5, 6, 4)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


LOSSES = (losses.content_loss, losses.style_loss, losses.feature_distance)


def test_the_gram_matrix_against_numpy():
    expected = np.einsum("nhwc,nhwd->ncd", maps(0), maps(0)) / (5 * 6 * 4)
    np.testing.assert_allclose(losses.gram_matrix(maps(0)), expected, rtol=1e-5, atol=1e-6)


def test_each_loss_against_its_formula():
    ours, theirs = {"a": maps(0), "b": maps(1)}, {"a": maps(2), "b": maps(3)}

    def total(distance):
        return sum(
            np.array([distance(*pair) for pair in zip(ours[k], theirs[k], strict=True)])
            for k in ours
        )

    def gram(x):
        return np.einsum("hwc,hwd->cd", x, x) / x.size

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    formulas = (
        lambda x, y: ((x - y) ** 2).mean(),
        lambda x, y: np.linalg.norm(gram(x) - gram(y)) ** 2,
        lambda x, y: ((unit(x) - unit(y)) ** 2).sum(-1).mean(),
    )
    for loss, formula in zip(LOSSES, formulas, strict=True):
        np.testing.assert_allclose(loss(ours, theirs), total(formula), rtol=1e-5)
        np.testing.assert_array_equal(loss(ours, ours), [0, 0])
        weighted = loss(ours, theirs, weights={"b": 0.0})
        np.testing.assert_allclose(weighted, loss({"a": ours["a"]}, {"a": theirs["a"]}), rtol=1e-6)
        one = {k: v[:1] for k, v in theirs.items()}
        np.testing.assert_allclose(loss(ours, one)[0], loss(ours, theirs)[0], rtol=1e-6)


def test_what_each_loss_does_not_see():
    ours, theirs = {"a": maps(0)}, {"a": maps(1)}
    # Style: where something is, and how large the image is.
    moved = {"a": maps(0).reshape(2, 30, 4)[:, ::-1].reshape(2, 5, 6, 4)}
    np.testing.assert_allclose(losses.style_loss(ours, moved), [0, 0], atol=1e-12)
    assert losses.content_loss(ours, moved).min() > 0.1
    tiled = {"a": np.tile(maps(0), (1, 2, 3, 1))}
    np.testing.assert_allclose(losses.style_loss(ours, tiled), [0, 0], atol=1e-12)
    # The distance: how strong the features of a position are.
    brighter = {"a": maps(0) * np.random.default_rng(2).uniform(1, 9, (2, 5, 6, 1))}
    np.testing.assert_allclose(losses.feature_distance(ours, brighter), [0, 0], atol=1e-9)
    assert 0 < float(losses.feature_distance(ours, theirs).min()) < 4
    opposite = losses.feature_distance(ours, {"a": -maps(0)})
    np.testing.assert_allclose(opposite, [4, 4], rtol=1e-5)


def test_bfloat16_features_are_compared_in_float32():
    ours, theirs = ({"a": jnp.asarray(maps(k), jnp.bfloat16)} for k in (0, 1))
    for loss in LOSSES:
        wide = loss(*({"a": f["a"].astype(jnp.float32)} for f in (ours, theirs)))
        np.testing.assert_array_equal(loss(ours, theirs), wide)
        assert wide.dtype == jnp.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_descending_the_gradient_to_the_image_lowers_the_loss(loss):
    target = jax.jit(see())(pictures(1))

    @jax.jit
    def value_and_gradient(images):
        return jax.value_and_grad(lambda x: loss(see()(x), target).sum())(images)

    images, values = pictures(0), []
    for _ in range(6):
        value, gradient = value_and_gradient(images)
        values.append(float(value))
        assert np.all(np.isfinite(gradient))
        assert float(abs(gradient).max()) > 0
        images = images - 0.5 * gradient / abs(gradient).max()
    assert np.all(np.diff(values) < 0), values


def test_dead_channels_have_a_finite_gradient():
    """After a ReLU a position may have no active channel at all."""
    zeros = {"a": jnp.zeros((1, 2, 2, 3))}
    for loss in LOSSES:
        gradient = jax.grad(lambda f, loss=loss: loss(f, {"a": maps(0, (1, 2, 2, 3))}).sum())(zeros)
        assert np.all(np.isfinite(gradient["a"]))


def test_images_of_another_range_are_refused():
    whole = pictures(0)
    assert list(see()(whole)) == list(NAMES)
    for wrong in (
        whole / 255,
        whole / 127.5 - 1,
        NORMALISE(whole),
        (whole - 128) * 2,
        whole * 255,
        whole.at[0, 0, 0, 0].set(jnp.nan),
    ):
        with pytest.raises(UserError, match=r"give grey levels of 0 to 255"):
            see()(wrong)
        # While differentiating there are values too.
        with pytest.raises(UserError):
            jax.grad(lambda x: see()(x)["relu1_1"].sum())(wrong)
    # What may pass: bytes however dark, a black picture, one that has strayed a little.
    for right in (jnp.ones((1, 4, 4, 3), jnp.uint8), jnp.zeros((1, 4, 4, 3)), 1.2 * whole - 20):
        losses.check_range(right)
    # Nothing can be seen in a compiled function.
    jax.eval_shape(see(), whole / 255)
    jax.vmap(lambda image: losses.check_range(image))(whole / 255)


def test_the_penalty_brings_an_image_back():
    images = jnp.array([[0.0, 255.0, 128.0, 10.0], [-3.0, 256.0, 128.0, 0.0]]).reshape(2, 2, 2, 1)
    np.testing.assert_allclose(losses.range_penalty(images), [0, (9 + 1) / 4])
    gradient = jax.grad(lambda x: losses.range_penalty(x).sum())(images)
    np.testing.assert_allclose(gradient[0], np.zeros((2, 2, 1)))
    np.testing.assert_allclose(np.ravel(gradient[1]), [-1.5, 0.5, 0, 0])


def test_features_that_cannot_be_compared_are_one_sentence():
    for loss in LOSSES:
        with pytest.raises(UserError, match="'relu1_3'; did you mean 'relu1_2'"):
            loss({"relu1_3": maps(0)}, {"relu1_2": maps(0)})
        with pytest.raises(UserError, match="called 'b'"):
            loss({"a": maps(0)}, {"a": maps(0)}, weights={"b": 1})
        with pytest.raises(UserError, match="features a have the shape"):
            loss({"a": maps(0)}, {"a": maps(0, (2, 5, 6, 3))})
        with pytest.raises(UserError, match="as many or one"):
            loss({"a": maps(0)}, {"a": maps(0, (3, 5, 6, 4))})
    for loss in (losses.content_loss, losses.feature_distance):
        with pytest.raises(UserError, match="images of the same size"):
            loss({"a": maps(0)}, {"a": maps(0, (2, 6, 6, 4))})
