import dataclasses
import json
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import preprocessing
from jaxcnn.data import data_config
from jaxcnn.data.statistics import IMAGENET_STATISTICS, Statistics
from jaxcnn.errors import UserError
from jaxcnn.mean_image import MeanImage
from jaxcnn.preprocessing import Preprocessing

STATISTICS = Statistics(
    images=3,
    mean=(100.0, 120.0, 140.0),
    image_std=(30.0, 40.0, 50.0),
    covariance=((3600.0, 0.0, 0.0), (0.0, 4900.0, 0.0), (0.0, 0.0, 6400.0)),
)
GREY = Statistics(images=3, mean=(50.0,), image_std=(20.0,), covariance=((900.0,),))


def images(count=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 5, 6, channels), np.uint8)


@pytest.mark.parametrize(
    ("name", "statistics", "mean", "std"),
    [
        ("unit", None, (0, 0, 0), (255, 255, 255)),
        ("half", None, (127.5,) * 3, (127.5,) * 3),
        ("lenet", None, (20, 20, 20), (200, 200, 200)),
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
    lenet = Preprocessing.named("lenet", 1)(extremes).ravel()
    np.testing.assert_allclose(lenet, [-0.1, 1.175], rtol=1e-6)


def test_the_names_are_those_of_the_configuration():
    assert get_args(preprocessing.Normalization) == get_args(data_config.Normalization)


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


def mean_image(height=5, width=6):
    values = np.random.default_rng(1).uniform(0, 255, (height, width, 3))
    return MeanImage.of(values), values


def test_the_mean_image_is_subtracted_from_images_of_its_size():
    mean, values = mean_image()
    normalize = Preprocessing.named(
        "pixel_mean", 3, dataclasses.replace(STATISTICS, mean_image=mean)
    )
    expected = images().astype(np.float64) - values
    np.testing.assert_allclose(normalize(jnp.asarray(images())), expected, atol=2e-5)
    alone = normalize(jnp.asarray(images()[2]))
    np.testing.assert_allclose(alone, expected[2], atol=2e-5)
    with pytest.raises(ValueError, match="needs statistics with a mean image"):
        Preprocessing.named("pixel_mean", 3, STATISTICS)


def test_from_images_of_another_size_the_mean_of_the_channels_is_subtracted():
    statistics = dataclasses.replace(STATISTICS, mean_image=mean_image(5, 5)[0])
    swept = Preprocessing.named("pixel_mean", 3, statistics)(jnp.asarray(images()))
    plain = Preprocessing.named("mean", 3, STATISTICS)(jnp.asarray(images()))
    np.testing.assert_array_equal(swept, plain)


def test_a_mean_image_survives_json_to_the_bit_and_stays_small():
    statistics = dataclasses.replace(STATISTICS, mean_image=mean_image()[0])
    normalize = Preprocessing.named("pixel_mean", 3, statistics)
    again = Preprocessing.from_json(json.loads(json.dumps(normalize.to_json())))
    assert again == normalize
    assert hash(again) == hash(normalize)
    np.testing.assert_array_equal(again.mean_image.array, mean_image()[1].astype(np.float32))
    assert again != dataclasses.replace(normalize, mean_image=None)
    assert len(json.dumps(mean_image(224, 224)[0].to_json())) < 0.81e6


def test_a_mean_image_that_does_not_fit_is_refused():
    fields = mean_image()[0].to_json()
    with pytest.raises(ValueError, match="360 bytes are not"):
        MeanImage.from_json(fields | {"shape": [5, 7, 3]})
    with pytest.raises(ValueError, match="a mean image of 3 channels and 1 means"):
        Preprocessing((0.0,), (1.0,), mean_image=mean_image()[0])
