import dataclasses
import re

import numpy as np
import pytest

from jaxcnn.data.crops import (
    AugmentConfig,
    View,
    eval_view,
    pad,
    rescale,
    train_view,
)
from jaxcnn.errors import UserError
from jaxcnn.randomness import Purpose, host_generator


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def coordinates(height, width):
    """Each pixel holds its own row and column."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def views(config, image_size, count):
    return [
        train_view(config, image_size, host_generator(0, Purpose.CROP, 0, example))
        for example in range(count)
    ]


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [
        ((375, 500), 256, (256, 341)),  # torchvision: int(256 * 500 / 375)
        ((500, 375), 256, (341, 256)),
        ((96, 96), 224, (224, 224)),
        ((3, 7), 10, (10, 23)),
        ((10, 7), 7, (10, 7)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_rescaling_keeps_the_shape_of_the_picture(shape, scale, expected, channels):
    assert rescale(noise(*shape, channels), scale).shape == (*expected, channels)


def test_rescaling_to_its_own_size_changes_nothing():
    np.testing.assert_array_equal(rescale(noise(20, 31), 20), noise(20, 31))


def test_reducing_by_two_takes_the_mean_of_each_square():
    image = noise(40, 60)
    means = image.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(rescale(image, 20) - means).max() <= 0.5


@pytest.mark.parametrize("scale", [67, 80, 200])
def test_enlarging_and_reducing_a_little_is_bilinear(scale):
    """A linear ramp stays one, sampled at the new pixels' centres."""
    ramp = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 100, axis=0)
    centres = (np.arange(scale) + 0.5) * 100 / scale - 0.5
    expected = np.clip(centres, 0, 99)
    assert np.abs(rescale(ramp, scale)[scale // 2, :, 0] - expected).max() <= 0.7


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (3, 5000)])
def test_of_a_very_long_image_the_middle_is_used(shape):
    image = np.zeros((*shape, 3), np.uint8)
    middle = tuple(
        slice(side // 2 - 1, side // 2 + 1) if side > 3 else slice(None) for side in shape
    )
    image[middle] = 255
    scaled = rescale(image, 64)
    assert sorted(scaled.shape[:2]) == [64, 64 * 32]
    assert scaled[scaled.shape[0] // 2, scaled.shape[1] // 2].min() > 200
    assert View(scale=64, size=64).apply(image).shape == (64, 64, 3)


def test_padding_puts_zeros_around():
    padded = pad(noise(4, 5), 2)
    assert padded.shape == (8, 9, 3)
    np.testing.assert_array_equal(padded[2:-2, 2:-2], noise(4, 5))
    assert padded.sum() == noise(4, 5).sum()


@pytest.mark.parametrize(("room", "offset"), [(0, 0), (1, 0), (2, 1), (117, 58), (119, 60)])
def test_the_centre_is_torchvisions(room, offset):
    """``int(round((height - crop) / 2))``, which rounds halves to even."""
    image = coordinates(20 + room, 20)
    assert View(scale=20, size=20).apply(image)[0, 0].tolist() == [offset, 0, 0]


@pytest.mark.parametrize(
    ("top", "left", "corner"), [(0.0, 0.0, (0, 0)), (0.999, 0.999, (10, 4)), (0.5, 0.2, (5, 1))]
)
def test_a_crop_lies_where_its_view_says(top, left, corner):
    image = coordinates(30, 24)
    # Scaled to its own size, so that pixels keep their values.
    crop = View(scale=24, size=20, top=top, left=left).apply(image)
    np.testing.assert_array_equal(
        crop, image[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20]
    )


def test_a_flip_mirrors_left_to_right():
    view = View(scale=24, size=20, top=0.3, left=0.7)
    image = noise(24, 30)
    np.testing.assert_array_equal(view._replace(flip=True).apply(image), view.apply(image)[:, ::-1])


def test_cifars_form_pads_and_crops():
    image = coordinates(32, 32) + 1
    corners = set()
    for view in views(AugmentConfig(pad=4, flip=False), 32, 1500):
        crop = view.apply(image).astype(int)
        assert crop.shape == (32, 32, 3)
        row, column, _ = crop[16, 16] - 17  # how far the middle has moved
        corners.add((row, column))
        assert (crop[..., 2] == 0).sum() == 32 * 32 - (32 - abs(row)) * (32 - abs(column))
    assert len(corners) == 81


def test_random_views_are_uniform():
    count = 20_000
    config = AugmentConfig(scale_min=256, scale_max=512)
    drawn = views(config, 224, count)
    scales = np.array([view.scale for view in drawn])
    assert scales.min() == 256
    assert scales.max() == 512
    assert abs(scales.mean() - 384) < 2
    for position in ("top", "left"):
        values = np.array([getattr(view, position) for view in drawn])
        histogram = np.histogram(values, bins=10, range=(0, 1))[0]
        assert np.abs(histogram / count - 0.1).max() < 0.01
    assert abs(np.mean([view.flip for view in drawn]) - 0.5) < 0.015
    scale_and_top = np.corrcoef(scales, [view.top for view in drawn])[0, 1]
    assert abs(scale_and_top) < 0.03


def test_every_place_of_a_crop_is_taken_equally_often():
    image = coordinates(8, 8)
    corners = [
        tuple(view.apply(image)[0, 0, :2])
        for view in views(AugmentConfig(scale_min=8, flip=False), 6, 4500)
    ]
    counts = np.unique(corners, axis=0, return_counts=True)[1]
    assert len(counts) == 9
    assert np.abs(counts / 4500 - 1 / 9).max() < 0.02


def test_switching_one_kind_of_augmentation_leaves_the_others():
    both = views(AugmentConfig(scale_min=256, scale_max=512), 224, 50)
    fixed = views(AugmentConfig(scale_min=256), 224, 50)
    unflipped = views(AugmentConfig(scale_min=256, scale_max=512, flip=False), 224, 50)
    assert [view._replace(scale=256) for view in both] == fixed
    assert [view._replace(flip=False) for view in both] == unflipped


def test_without_augmentation_training_sees_what_evaluation_sees():
    config = AugmentConfig(scale_min=256, crop="center", flip=False)
    assert set(views(config, 224, 10)) == {eval_view(config, 224)}


@pytest.mark.parametrize(
    ("config", "scales", "central"),
    [
        (AugmentConfig(), (224, 224), 224),
        (AugmentConfig(scale_min=256), (256, 256), 256),
        (AugmentConfig(scale_min=256, scale_max=512), (256, 512), 384),
        (AugmentConfig(scale_max=300), (224, 300), 262),
        (AugmentConfig(scale_min=256, scale_max=512, eval_scale=256), (256, 512), 256),
    ],
)
def test_scales_follow_vggs_rule(config, scales, central):
    config.check()
    config.check_crop(224)
    assert config.scales(224) == scales
    assert config.central_scale(224) == central
    assert eval_view(config, 224) == View(scale=central, size=224)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_min": 0}, "augment.scale_min is 0;"),
        ({"eval_scale": -3}, "augment.eval_scale is -3;"),
        ({"pad": -1}, "augment.pad is -1;"),
        ({"color_shift": -0.1}, "augment.color_shift is -0.1;"),
        ({"color_shift": float("nan")}, "augment.color_shift is nan;"),
        (
            {"scale_min": 300, "scale_max": 256},
            "augment.scale_min is 300 and augment.scale_max 256",
        ),
        ({"scale_min": 200}, "augment.scale_min is 200, too small to crop data.image_size of 224"),
        (
            {"eval_scale": 200},
            "augment.eval_scale is 200, too small to crop data.image_size of 224",
        ),
    ],
)
def test_a_wrong_setting_is_named(changes, message):
    config = dataclasses.replace(AugmentConfig(), **changes)
    with pytest.raises(UserError, match="^" + re.escape(message)):  # noqa: PT012
        config.check()
        config.check_crop(224)
