import json
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import preprocessing
from jaxcnn.data import pipeline
from jaxcnn.data.statistics import IMAGENET_STATISTICS, Statistics
from jaxcnn.errors import UserError
from jaxcnn.preprocessing import ColorShift, Preprocessing, preprocess

STATISTICS = Statistics(
    images=3,
    mean=(100.0, 120.0, 140.0),
    image_std=(30.0, 40.0, 50.0),
    covariance=((3600.0, 0.0, 0.0), (0.0, 4900.0, 0.0), (0.0, 0.0, 6400.0)),
)
GREY = Statistics(images=3, mean=(50.0,), image_std=(20.0,), covariance=((900.0,),))
SHIFT = ColorShift(0.1, IMAGENET_STATISTICS.eigenvalues, IMAGENET_STATISTICS.eigenvectors)


def images(count=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 5, 6, channels), np.uint8)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


@pytest.mark.parametrize(
    ("name", "statistics", "mean", "std"),
    [
        ("unit", None, (0, 0, 0), (255, 255, 255)),
        ("half", None, (127.5,) * 3, (127.5,) * 3),
        ("mean", STATISTICS, (100, 120, 140), (1, 1, 1)),
        ("mean_std", STATISTICS, (100, 120, 140), (60, 70, 80)),
        ("mean_image_std", STATISTICS, (100, 120, 140), (30, 40, 50)),
        ("unit", None, (0,), (255,)),
        ("mean_std", GREY, (50,), (30,)),
    ],
)
def test_the_named_normalizations(name, statistics, mean, std):
    channels = len(mean)
    normalize = Preprocessing.named(name, channels, statistics)
    assert normalize == Preprocessing(mean, std)
    result = normalize(jnp.asarray(images(channels=channels)))
    assert result.dtype == jnp.float32
    expected = (images(channels=channels).astype(np.float64) - mean) / std
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_ranges():
    extremes = jnp.array([0, 255], jnp.uint8).reshape(2, 1, 1, 1)
    assert Preprocessing.named("unit", 1)(extremes).ravel().tolist() == [0, 1]
    assert Preprocessing.named("half", 1)(extremes).ravel().tolist() == [-1, 1]


def test_the_names_are_those_of_the_configuration():
    assert get_args(preprocessing.Normalization) == get_args(pipeline.Normalization)


def test_normalized_data_have_the_moments_that_the_name_promises():
    data = images(50)
    exact = data.astype(np.float64)
    covariance = np.cov(exact.reshape(-1, 3), rowvar=False, bias=True)
    statistics = Statistics(
        images=50,
        mean=tuple(exact.mean((0, 1, 2))),
        image_std=tuple(exact.std((1, 2)).mean(0)),
        covariance=tuple(map(tuple, covariance)),
    )
    pooled = np.asarray(Preprocessing.named("mean_std", 3, statistics)(data))
    np.testing.assert_allclose(pooled.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(pooled.std((0, 1, 2)), 1, atol=1e-5)
    own = np.asarray(Preprocessing.named("mean_image_std", 3, statistics)(data))
    np.testing.assert_allclose(own.std((1, 2)).mean(0), 1, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.float64, np.int8])
def test_images_of_another_type_are_refused(dtype):
    normalize = Preprocessing.named("unit", 3)
    with pytest.raises(TypeError, match="uint8"):
        normalize(images().astype(dtype))
    with pytest.raises(TypeError, match="uint8"):
        preprocess(images().astype(np.float32), preprocessing=normalize)


def test_channels_and_statistics_must_fit():
    with pytest.raises(ValueError, match="images of 1 channels do not fit a mean of 3"):
        Preprocessing.named("unit", 3)(images(channels=1))
    with pytest.raises(ValueError, match="statistics of 3 channels do not fit images of 1"):
        Preprocessing.named("mean", 1, STATISTICS)
    with pytest.raises(ValueError, match="needs statistics"):
        Preprocessing.named("mean", 3)


def test_division_by_zero_is_refused():
    flat = Statistics(images=2, mean=(5.0,), image_std=(0.0,), covariance=((0.0,),))
    assert Preprocessing.named("mean", 1, flat).std == (1.0,)
    for name in ("mean_std", "mean_image_std"):
        with pytest.raises(UserError, match=r"data\.normalization"):
            Preprocessing.named(name, 1, flat)


def test_json_gives_back_the_same_to_the_bit():
    normalize = Preprocessing.named("mean_image_std", 3, IMAGENET_STATISTICS)
    assert Preprocessing.from_json(json.loads(json.dumps(normalize.to_json()))) == normalize


def test_json_of_before_there_were_channel_orders_is_read():
    old = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    assert Preprocessing.from_json(old) == Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def test_bgr_turns_images_round_and_takes_its_mean_in_that_order():
    normalize = Preprocessing((1.0, 2.0, 3.0), (1.0, 2.0, 4.0), "BGR", shorter_side=256, crop=224)
    pixel = jnp.array([[[[30, 20, 11]]]], jnp.uint8)
    assert normalize(pixel).ravel().tolist() == [10, 9, 6.75]
    assert Preprocessing.from_json(json.loads(json.dumps(normalize.to_json()))) == normalize


@pytest.mark.parametrize(
    ("mean", "std", "order", "message"),
    [
        ((0.0,), (1.0,), "BGR", "1 channels cannot be in the order BGR"),
        ((0.0,) * 3, (1.0,) * 3, "GBR", "'RGB' or 'BGR'"),
        ((0.0,) * 3, (1.0,), "RGB", "3 means and 1 standard deviations"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(mean, std, order, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(mean, std, order)


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
    shift = ColorShift(0.1, GREY.eigenvalues, GREY.eigenvectors)
    shifts = shift(jnp.zeros((4, 2, 2, 1), jnp.uint8), keys(4))[:, 0, 0, 0]
    alphas = 0.1 * jax.vmap(lambda key: jax.random.normal(key, (1,)))(keys(4))[:, 0]
    np.testing.assert_allclose(shifts, alphas * 900 / 255, rtol=1e-6)


def test_preprocess_shifts_first_and_compiles():
    normalize = Preprocessing.named("mean_std", 3, STATISTICS)
    compiled = jax.jit(
        lambda images, keys: preprocess(
            images, preprocessing=normalize, color_shift=SHIFT, keys=keys
        )
    )
    expected = normalize(SHIFT(images(), keys(4)))
    np.testing.assert_allclose(compiled(images(), keys(4)), expected, atol=1e-6)
    plain = preprocess(images(), preprocessing=normalize)
    np.testing.assert_array_equal(plain, normalize(images()))
    with pytest.raises(ValueError, match="a key for each image"):
        preprocess(images(), preprocessing=normalize, color_shift=SHIFT)
