"""What a step does to its images before the network sees them, on every layout of devices."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from experiments.config import Experiment
from experiments.images import STATISTICS, augment_by, statistics_of
from jaxcnn.colors import ColorShift, Photometric
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.pipeline import EvalBatches
from jaxcnn.data.sources import open_source
from jaxcnn.data.statistics import IMAGENET_STATISTICS
from jaxcnn.mixing import Mixing
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.randomness import Purpose, device_key, example_keys
from jaxcnn.training.devices import ParallelConfig, make_layout

CLASSES, STEP = 5, 4
NORMALIZE = Preprocessing.named("mean_image_std", 3, IMAGENET_STATISTICS)


def batch(count=16):
    generator = np.random.default_rng(0)
    weights = np.ones(count, np.float32)
    weights[3] = 0
    return {
        "image": generator.integers(0, 256, (count, 6, 6, 3), np.uint8),
        "label": generator.integers(0, CLASSES, count).astype(np.int32),
        "index": generator.permutation(1000)[:count].astype(np.int32),
        "weight": weights,
    }


def augmented(layout, **changes):
    """The whole batch of a step as it is after the layout's devices are done with it."""
    augment = augment_by(
        NORMALIZE,
        Experiment(augment=AugmentConfig(**changes), seed=9),
        IMAGENET_STATISTICS,
        num_classes=CLASSES,
        axis_name=layout.axis_name,
    )

    def step(now, batch):
        images, targets = augment(batch, now)
        if layout.axis_name is None:
            return images, targets
        return jax.lax.all_gather((images, targets), layout.axis_name, tiled=True)

    return layout.fetch(
        layout.compile(step)(layout.replicate(np.int32(STEP)), layout.place(batch()))
    )


ALL = {"photometric": 0.4, "color_shift": 0.1}


KINDS = {"mixup": {**ALL, "mixup": 0.4}, "either": {"mixup": 0.2, "cutmix": 1.0}}


@functools.cache
def one_device(kind):
    return augmented(make_layout(ParallelConfig(devices=1)), **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.full), 8])
@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_every_layout_makes_the_same_images_and_labels(mode, devices, kind):
    images, targets = one_device(kind)
    assert targets.shape == (16, CLASSES)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert (targets.max(axis=1) < 0.999).any()  # something is mixed
    others = augmented(make_layout(ParallelConfig(mode=mode, devices=devices)), **KINDS[kind])
    np.testing.assert_allclose(others[0], images, atol=1e-5)
    np.testing.assert_allclose(others[1], targets, atol=1e-6)


def test_the_order_is_distortion_shift_normalisation_mixing():
    shift = ColorShift(0.1, IMAGENET_STATISTICS.eigenvalues, IMAGENET_STATISTICS.eigenvectors)

    @jax.jit
    def expected(given):
        def keys(purpose):
            return example_keys(device_key(9, purpose, STEP), given["index"])

        distorted = Photometric(0.4)(given["image"], keys(Purpose.PHOTOMETRIC))
        return Mixing(0.4, 0.0, CLASSES)(
            NORMALIZE(shift(distorted, keys(Purpose.COLOR_SHIFT))),
            given["label"],
            weights=given["weight"],
            indices=given["index"],
            key=device_key(9, Purpose.MIXING, STEP),
        )

    for ours, theirs in zip(one_device("mixup"), expected(batch()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_mean_image_is_computed_where_it_is_asked_for_and_kept_with_the_run(tmp_path):
    config = Experiment(data=DataConfig(image_size=8, normalization="pixel_mean"))
    digits = open_source("digits", "train")
    statistics = statistics_of(digits, config, tmp_path, show=False)
    assert statistics.mean_image.shape == (8, 8, 1)
    normalize = Preprocessing.named("pixel_mean", 1, statistics)
    batches = EvalBatches(digits, config=config.data, augment=AugmentConfig(), batch_size=1438)
    levels = np.asarray(normalize(batches[0]["image"]), np.float64)
    np.testing.assert_allclose(levels.mean(axis=0), 0, atol=1e-4)
    (tmp_path / STATISTICS).write_text(json.dumps(statistics.to_json()))
    assert statistics_of(None, config, tmp_path, show=False) == statistics  # nothing is read
    plain = dataclasses.replace(config, data=DataConfig(image_size=8), restart=True)
    assert statistics_of(digits, plain, tmp_path, show=False).mean_image is None


def test_without_augmentation_images_are_normalised_alone():
    images, labels = augmented(make_layout(ParallelConfig(devices=1)))
    np.testing.assert_allclose(images, NORMALIZE(batch()["image"]), atol=1e-6)
    np.testing.assert_array_equal(labels, batch()["label"])
