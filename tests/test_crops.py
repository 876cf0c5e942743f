import dataclasses
import re

import numpy as np
import pytest

from jaxcnn.data.crops import AugmentConfig, eval_view, train_view
from jaxcnn.data.views import METHODS, View
from jaxcnn.errors import UserError
from jaxcnn.evaluation.protocols import ten_crop
from jaxcnn.randomness import Purpose, host_generator


def coordinates(height, width):
    """Each pixel holds its own row and column."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def views(config, image_size, count, **padding):
    return [
        train_view(config, image_size, host_generator(0, Purpose.CROP, 0, example), **padding)
        for example in range(count)
    ]


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


@pytest.mark.parametrize(
    ("example", "row", "column", "flip"), [(0, 0, -2, True), (1, 2, -2, True), (10, 0, -4, False)]
)
def test_cifars_form_under_a_fixed_key(example, row, column, flip):
    """Rows and columns by which the window has moved from the image's own place."""
    image = np.random.default_rng(1).integers(1, 256, (32, 32, 3), np.uint8)
    view = train_view(AugmentConfig(pad=4), 32, host_generator(7, Purpose.CROP, 3, example))
    expected = np.zeros_like(image)
    for y in range(32):
        for x in range(32):
            if 0 <= y + row < 32 and 0 <= x + column < 32:
                expected[y, 31 - x if flip else x] = image[y + row, x + column]
    np.testing.assert_array_equal(view.apply(image), expected)


def test_stl10s_and_imagenets_form_under_a_fixed_key():
    """No number of an earlier version's run may change: the first four drawn stay what they are."""
    config = AugmentConfig(scale_min=256, scale_max=512)
    view = train_view(config, 224, host_generator(7, Purpose.CROP, 3, 0))
    assert view == View(
        scale=301, size=224, top=0.5197859139265351, left=0.3211113368428843, flip=True
    )


@pytest.mark.parametrize(
    "other", [{"crop": "corners"}, {"crop": "area"}, {"interpolation": "random"}]
)
def test_other_kinds_of_augmentation_draw_after_the_first(other):
    usual = AugmentConfig(scale_min=256, scale_max=512)
    for one, two in zip(
        views(usual, 224, 30), views(dataclasses.replace(usual, **other), 224, 30), strict=True
    ):
        assert (one.scale, one.flip) == (two.scale, two.flip)
        if "crop" not in other or other["crop"] == "area":
            assert (one.top, one.left) == (two.top, two.left)


def test_the_corners_are_the_ten_crops_of_testing():
    """Each as often as the others."""
    count, image = 4000, coordinates(16, 16)
    drawn = [
        view.apply(image) for view in views(AugmentConfig(scale_min=16, crop="corners"), 12, count)
    ]
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    expected = {crop.tobytes() for crop in ten_crop(image, 12)}
    assert {crop.tobytes() for crop in kinds} == expected
    assert len(kinds) == 10
    assert np.abs(counts / count - 0.1).max() < 0.02
    unflipped = views(AugmentConfig(scale_min=16, crop="corners", flip=False), 12, 200)
    assert len({view.apply(image).tobytes() for view in unflipped}) == 5


def test_crops_of_the_central_square_alone():
    image = coordinates(12, 31)
    for crop in ("random", "corners", "center"):
        config = AugmentConfig(scale_min=12, crop=crop, central_square=True, flip=False)
        columns = np.concatenate(
            [view.apply(image)[..., 1].ravel() for view in views(config, 8, 99)]
        )
        low, high = (12, 19) if crop == "center" else (10, 21)  # of 31, the middle 12 are 10 to 21
        assert (columns.min(), columns.max()) == (low, high)


def test_area_and_aspect_of_parts_are_uniform():
    drawn = np.array([view.parts.attempts for view in views(AugmentConfig(crop="area"), 8, 3000)])
    for values, low, high in [
        (drawn[..., 0], 0.08, 1.0),
        (np.log(drawn[..., 1]), -np.log(4 / 3), np.log(4 / 3)),
    ]:
        assert low <= values.min() < low + 0.001
        assert high - 0.001 < values.max() <= high
        histogram = np.histogram(values, bins=10, range=(low, high))[0]
        assert np.abs(histogram / values.size - 0.1).max() < 0.01
    assert abs(np.corrcoef(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 0])[0, 1]) < 0.06


def test_parts_follow_their_definition_on_a_picture():
    """Area, aspect and place of 3,000 parts against those of a loop written out plainly."""
    height, width, config = 90, 120, AugmentConfig(crop="area")
    image = coordinates(height, width)
    generator = np.random.default_rng(5)
    plain = []
    while len(plain) < 3000:
        area = height * width * generator.uniform(0.08, 1)
        aspect = np.exp(generator.uniform(-np.log(4 / 3), np.log(4 / 3)))
        columns, rows = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if rows <= height and columns <= width:
            row, column = (
                generator.integers(height - rows + 1),
                generator.integers(width - columns + 1),
            )
            plain.append((rows, columns, row, column))
    ours = []
    for view in views(config, 8, 3000):
        part = view.parts.cut(image, view.top, view.left)
        ours.append((*part.shape[:2], *part[0, 0, :2]))
    ours, plain = np.array(ours), np.array(plain)
    rows, columns = ours[:, 0], ours[:, 1]
    assert (rows + ours[:, 2] <= height).all()
    assert (columns + ours[:, 3] <= width).all()
    # Rounding to whole pixels moves the bounds by a little.
    assert (rows * columns >= 0.08 * height * width * 0.96).all()
    assert (np.abs(np.log(columns / rows)) <= np.log(4 / 3) + 0.04).all()
    for place in range(4):
        quantiles = np.linspace(0.1, 0.9, 9)
        ours_at, plain_at = (np.quantile(each[:, place], quantiles) for each in (ours, plain))
        assert np.abs(ours_at - plain_at).max() < 5


def test_every_way_to_resize_is_as_frequent():
    drawn = [view.method for view in views(AugmentConfig(interpolation="random"), 8, 4000)]
    kinds, counts = np.unique(drawn, return_counts=True)
    assert set(kinds) == set(METHODS)
    assert np.abs(counts / 4000 - 0.25).max() < 0.02
    assert {view.method for view in views(AugmentConfig(), 8, 10)} == {None}


def test_padding_for_training_and_evaluation():
    """MNIST's 28 x 28 in LeNet-5's 32: not enlarged, and moved by what `pad` adds alone."""
    image = coordinates(28, 28) + 1
    config = AugmentConfig(flip=False)
    config.check_crop(32, 2)
    seen = eval_view(config, 32, padding=2).apply(image)
    np.testing.assert_array_equal(seen[2:-2, 2:-2], image)
    assert seen.sum() == image.sum()
    for view in views(config, 32, 5, padding=2):
        np.testing.assert_array_equal(view.apply(image), seen)
    moved = views(AugmentConfig(flip=False, pad=1), 32, 200, padding=2)
    kinds = {view.apply(image).tobytes() for view in moved}
    assert len(kinds) == 9


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
        ({"crop": "centre"}, "there is no augment.crop 'centre';"),
        ({"interpolation": "linear"}, "there is no augment.interpolation 'linear';"),
        ({"area_min": 0.0}, "augment.area_min is 0.0;"),
        ({"area_min": 8.0}, "augment.area_min is 8.0;"),
        ({"aspect_max": 0.75}, "augment.aspect_max is 0.75;"),
        ({"photometric": 1.5}, "augment.photometric is 1.5;"),
        ({"mixup": -0.2}, "augment.mixup is -0.2;"),
        ({"cutmix": float("inf")}, "augment.cutmix is inf;"),
        ({"crop": "area", "pad": 4}, "augment.pad has no place with augment.crop='area'"),
        ({"crop": "area", "central_square": True}, "augment.central_square has no place"),
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


def test_a_wrong_padding_is_named():
    with pytest.raises(UserError, match=r"^data\.padding is 16, which leaves nothing"):
        AugmentConfig().check_crop(32, 16)
    with pytest.raises(UserError, match=r"^data\.padding has no place with augment\.crop='area'"):
        AugmentConfig(crop="area").check_crop(32, 2)
    with pytest.raises(UserError, match=r"^augment\.scale_min is 26, too small"):
        AugmentConfig(scale_min=26).check_crop(32, 2)
    AugmentConfig(scale_min=26, eval_scale=28, pad=1).check_crop(32, 2)
