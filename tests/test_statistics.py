import dataclasses
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.sources import Example
from jaxcnn.data.statistics import IMAGENET_STATISTICS, Statistics, compute_statistics
from jaxcnn.errors import UserError


class Arrays:
    """The images of an array, ``(count, height, width, channels)``, as PNMs; None is no image."""

    name = "arrays"
    class_names = ("only",)

    def __init__(self, images):
        self.images = images
        self.channels = images[0].shape[-1]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        pixels = self.images[index]
        if pixels is None:
            return Example(b"", 0, f"array {index}")
        height, width, channels = pixels.shape
        header = f"P{5 if channels == 1 else 6} {width} {height} 255\n"
        return Example(header.encode() + pixels.tobytes(), 0, f"array {index}")


def digits(count=1797):
    return (load_digits().images[:count, ..., None] * 15.9375).astype(np.uint8)


def colours(count=70):
    """Images of related channels, brighter and darker, and one that is all one colour."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(3, 3))
    pixels = generator.normal(size=(count, 9, 9, 3)) @ mixing * 20
    images = (pixels + generator.uniform(20, 230, (count, 1, 1, 3))).clip(0, 255).astype(np.uint8)
    images[2] = 77
    return images


def compute(images, **changes):
    config = DataConfig(image_size=images[0].shape[0], **changes)
    return compute_statistics(
        Arrays(images), config=config, augment=AugmentConfig(), progress=False
    )


@pytest.mark.parametrize(
    "images",
    [digits(), colours(), colours(20_000)],
    ids=["1,797 digits", "70 in colour", "20,000 in colour"],
)
def test_agrees_with_numpy(images):
    statistics = compute(images)
    exact = images.astype(np.float64)
    channels = images.shape[-1]
    assert statistics.images == len(images)
    for name, expected in {
        "mean": exact.mean(axis=(0, 1, 2)),
        "std": exact.std(axis=(0, 1, 2)),
        "image_std": exact.std(axis=(1, 2)).mean(axis=0),
        "covariance": np.cov(exact.reshape(-1, channels), rowvar=False, bias=True),
    }.items():
        value = np.array(getattr(statistics, name))
        np.testing.assert_allclose(value, expected.reshape(value.shape), rtol=1e-12, err_msg=name)
    centred = exact.reshape(-1, channels) - exact.mean(axis=(0, 1, 2))
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    np.testing.assert_allclose(statistics.eigenvalues, values[::-1], rtol=1e-9)
    along = np.abs(np.sum(statistics.eigenvectors * vectors[:, ::-1], axis=0))
    np.testing.assert_allclose(along, 1, atol=1e-12)


def test_the_two_standard_deviations_differ():
    statistics = compute(colours())
    assert np.all(np.array(statistics.image_std) < np.array(statistics.std))


def test_principal_components():
    statistics = compute(colours())
    values, vectors = np.array(statistics.eigenvalues), np.array(statistics.eigenvectors)
    assert values[0] > values[1] > values[2] > 0
    np.testing.assert_allclose((vectors * values) @ vectors.T, statistics.covariance, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert (vectors[abs(vectors).argmax(axis=0), range(3)] > 0).all()


def test_images_count_as_seen_in_evaluation():
    images = np.zeros((3, 8, 20, 3), np.uint8)
    images[:, :, 6:14] = colours(3)[:, :8, :8]  # the centre
    images[:, :, :6] = 255
    config = DataConfig(image_size=8)
    seen = compute_statistics(
        Arrays(images), config=config, augment=AugmentConfig(), progress=False
    )
    assert seen == compute(np.ascontiguousarray(images[:, :, 6:14]))


def test_the_mean_image_is_that_of_each_pixel():
    images = colours()
    statistics = compute_statistics(
        Arrays(images),
        config=DataConfig(image_size=9, threads=3),
        augment=AugmentConfig(),
        mean_image=True,
        progress=False,
    )
    expected = images.astype(np.float64).mean(axis=0).astype(np.float32)
    np.testing.assert_array_equal(statistics.mean_image.array, expected)
    assert dataclasses.replace(statistics, mean_image=None) == compute(images)
    assert Statistics.from_json(json.loads(json.dumps(statistics.to_json()))) == statistics


def test_padding_counts_as_seen_in_evaluation():
    images = colours(4)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = compute_statistics(
        Arrays(images),
        config=DataConfig(image_size=13, padding=2),
        augment=AugmentConfig(),
        progress=False,
    )
    assert seen == compute(padded)


def test_threads_change_no_bit():
    assert compute(colours(), threads=1, prefetch=1) == compute(colours(), threads=8)


def test_skipped_images_do_not_count():
    images = list(colours(8))
    with pytest.raises(UserError, match="'array 3' is not an image"):
        compute([*images[:3], None, *images[3:]])
    assert compute([*images[:3], None, *images[3:]], on_error="skip") == compute(images)


def test_no_image_at_all_is_said():
    images = Arrays(colours(3))
    images.images = [None] * 3
    with pytest.raises(UserError, match=r"no image of 'arrays' could be read"):
        compute_statistics(
            images,
            config=DataConfig(image_size=9, on_error="skip"),
            augment=AugmentConfig(),
            progress=False,
        )


def test_json_gives_back_the_same_to_the_bit():
    statistics = compute(colours(5))
    assert Statistics.from_json(json.loads(json.dumps(statistics.to_json()))) == statistics
    assert hash(statistics) == hash(dataclasses.replace(statistics))


def test_imagenets_are_the_published_ones():
    statistics = IMAGENET_STATISTICS
    np.testing.assert_allclose(statistics.mean, [123.68, 116.779, 103.939])
    np.testing.assert_allclose(np.array(statistics.image_std) / 255, [0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        np.array(statistics.eigenvalues) / 255**2, [0.2175, 0.0188, 0.0045], atol=1e-5
    )
    published = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    np.testing.assert_allclose(np.abs(statistics.eigenvectors), np.abs(published), atol=1e-3)
    # Variances, not standard deviations: the pooled ones cannot be below the images' own.
    assert np.all(np.array(statistics.std) > np.array(statistics.image_std))
