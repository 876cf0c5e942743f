import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.colors import ColorShift, Photometric
from jaxcnn.data.statistics import IMAGENET_STATISTICS

SHIFT = ColorShift(0.1, IMAGENET_STATISTICS.eigenvalues, IMAGENET_STATISTICS.eigenvectors)


def images(count=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 5, 6, channels), np.uint8)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_color_shift_is_alexnets_formula_on_values_from_0_to_1():
    published_values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array(IMAGENET_STATISTICS.eigenvectors)
    shifted = np.asarray(SHIFT(jnp.asarray(images()), keys(4)))
    for image, result, key in zip(images(), shifted, keys(4), strict=True):
        alphas = 0.1 * np.asarray(jax.random.normal(key, (3,)), np.float64)
        expected = image / 255 + vectors @ (alphas * published_values)
        np.testing.assert_allclose(result / 255, expected, atol=2e-6)


def test_color_shift_has_the_size_that_the_docstring_says():
    count = 4000
    black = jnp.zeros((count, 1, 1, 3), jnp.uint8)
    shifts = np.asarray(SHIFT(black, keys(count)))[:, 0, 0]
    along = shifts @ np.array(IMAGENET_STATISTICS.eigenvectors)
    expected = 0.1 * 255 * np.array([0.2175, 0.0188, 0.0045])
    assert expected[0] == pytest.approx(5.5, abs=0.05)
    np.testing.assert_allclose(along.std(axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(along.mean(axis=0) / expected, 0, atol=0.06)


def test_color_shift_is_one_color_an_image_and_depends_on_its_key_alone():
    shifts = np.asarray(SHIFT(jnp.asarray(images()), keys(4))) - images()
    np.testing.assert_allclose(shifts, shifts[:, :1, :1].repeat(5, 1).repeat(6, 2), atol=1e-4)
    assert len(np.unique(shifts[:, 0, 0, 0])) == 4
    alone = np.asarray(SHIFT(jnp.asarray(images()[2:3]), keys(4)[2:3]))
    np.testing.assert_array_equal(alone[0], np.asarray(SHIFT(jnp.asarray(images()), keys(4)))[2])


def test_color_shift_of_grey_images_shifts_their_brightness():
    shift = ColorShift(0.1, (900.0,), ((1.0,),))
    shifts = shift(jnp.zeros((4, 2, 2, 1), jnp.uint8), keys(4))[:, 0, 0, 0]
    alphas = 0.1 * jax.vmap(lambda key: jax.random.normal(key, (1,)))(keys(4))[:, 0]
    np.testing.assert_allclose(shifts, alphas * 900 / 255, rtol=1e-6)


def distorted(image, order, factors):
    """Brightness, contrast and saturation as torchvision's ColorJitter defines them, in float64."""
    image = image.astype(np.float64)
    for kind in order:
        grey = image @ [0.299, 0.587, 0.114] if image.shape[-1] == 3 else image[..., 0]
        other = (0, grey.mean(), grey[..., None])[kind]
        image = (factors[kind] * image + (1 - factors[kind]) * other).clip(0, 255)
    return image


def drawn(key, strength):
    """The order and the factors of one image."""
    order_key, factor_key = jax.random.split(key)
    factors = jax.random.uniform(factor_key, (3,), minval=1 - strength, maxval=1 + strength)
    return np.asarray(jax.random.permutation(order_key, 3)), np.asarray(factors, np.float64)


@pytest.mark.parametrize("channels", [1, 3])
def test_photometric_distortion_follows_its_definition(channels):
    pictures = images(12, channels)
    ours = np.asarray(jax.jit(Photometric(0.4))(pictures, keys(12)))
    assert ours.dtype == np.float32
    for picture, result, key in zip(pictures, ours, keys(12), strict=True):
        np.testing.assert_allclose(result, distorted(picture, *drawn(key, 0.4)), atol=2e-3)
    assert ours.min() >= 0
    assert ours.max() <= 255


def test_every_order_comes_and_is_seen_in_what_is_cut_off():
    picture = images(1)[0]
    seen = np.asarray(jax.jit(Photometric(0.9))(picture[None].repeat(80, 0), keys(80)))
    orders = list(itertools.permutations(range(3)))
    found = []
    for result, key in zip(seen, keys(80), strict=True):
        factors = drawn(key, 0.9)[1]
        errors = [abs(distorted(picture, order, factors) - result).max() for order in orders]
        assert min(errors) < 5e-3
        if sorted(errors)[1] > 0.1:  # the others are other pictures
            found.append(np.argmin(errors))
    assert set(found) == set(range(6))


def test_the_factors_are_uniform():
    """In the middle of the range nothing is cut off, and the mean follows the brightness alone."""
    picture = np.array([[[90, 110, 130], [120, 100, 140]]], np.uint8)
    count = 3000
    seen = np.asarray(jax.jit(Photometric(0.3))(picture[None].repeat(count, 0), keys(count)))
    luma = np.array([0.299, 0.587, 0.114])
    brightness = (seen @ luma).mean(axis=(1, 2)) / (picture @ luma).mean()
    histogram = np.histogram(brightness, bins=6, range=(0.7, 1.3))[0]
    assert histogram.sum() == pytest.approx(count, abs=5)  # but for rounding at the ends
    assert np.abs(histogram / count - 1 / 6).max() < 0.025


def test_photometric_distortion_of_no_strength_changes_nothing():
    np.testing.assert_allclose(Photometric(0.0)(images(), keys(4)), images(), atol=1e-4)


def test_photometric_distortion_depends_on_its_key_alone():
    distort = jax.jit(Photometric(0.4))
    alone = distort(images()[2:3], keys(4)[2:3])
    np.testing.assert_allclose(alone[0], distort(images(), keys(4))[2], atol=1e-4)
