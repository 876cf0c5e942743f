import io

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import decode
from jaxcnn.data.views import METHODS, Parts, View, pad, rescale


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def coordinates(height, width):
    """Each pixel holds its own row and column."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_view_is_resized_in_its_own_way(method, channels):
    image = noise(40, 60, channels)
    expected = cv2.resize(image, (24, 16), interpolation=method).reshape(16, 24, channels)
    np.testing.assert_array_equal(
        View(scale=16, size=16, method=method).apply(image), expected[:, 4:20]
    )
    part = View(scale=1, size=16, method=method, parts=Parts(((1.0, 1.5),), 2.0)).apply(image)
    expected = cv2.resize(image, (16, 16), interpolation=method).reshape(16, 16, channels)
    np.testing.assert_array_equal(part, expected)


def test_the_central_square_comes_before_padding():
    view = View(scale=20, size=20, pad=3, top=0.0, left=0.0, square=True)
    image = coordinates(20, 29) + 1
    crop = view.apply(image)
    np.testing.assert_array_equal(crop[3:, 3:], image[:17, 4:21])
    assert crop[:3].sum() == crop[:, :3].sum() == 0


def test_a_part_lies_where_its_view_says():
    image = coordinates(100, 200)
    parts = Parts(((0.3, 100.0), (0.32, 1.0), (0.5, 1.0)), 4 / 3)  # the first does not fit
    view = View(scale=1, size=80, top=0.5, left=0.999, flip=True, parts=parts)
    np.testing.assert_array_equal(view.apply(image), image[10:90, 120:][:, ::-1])


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ((30, 90), slice(0, 30), slice(25, 65)),  # 40 is 4/3 of 30
        ((91, 30), slice(25, 65), slice(0, 30)),
        ((1, 1000), slice(0, 1), slice(499, 500)),
        ((30, 36), slice(0, 30), slice(0, 36)),
    ],
)
def test_where_no_part_fits_the_centre_is_shown(shape, rows, columns):
    image = np.zeros((*shape, 3), np.uint8)
    part = Parts(((1.0, 40.0),) * 10, 4 / 3).cut(image, 0.9, 0.9)
    expected = image[rows, columns]
    assert part.shape == expected.shape
    assert part.ctypes.data == expected.ctypes.data


def test_a_part_is_not_enlarged_where_the_file_has_the_pixels():
    """A JPEG is decoded at a reduced scale only as far as the smallest part allows."""
    stream = io.BytesIO()
    Image.fromarray(noise(800, 900)).save(stream, "JPEG")
    for share, aspect in [(0.9, 1.0), (0.3, 4 / 3), (0.08, 0.75)]:
        view = View(scale=16, size=50, top=0.0, left=0.0, parts=Parts(((share, aspect),), 4 / 3))
        image = decode(stream.getvalue(), 3, shorter_side=view.shorter_side)
        assert min(view.parts.cut(image, 0.0, 0.0).shape[:2]) >= 50
        assert image.shape[0] < 800  # and yet it is reduced


def test_a_very_long_image_gives_a_part_in_bounded_memory():
    parts = Parts(((0.5, 1.0),) * 10, 4 / 3)
    assert View(scale=1, size=64, parts=parts).apply(noise(1, 3000)).shape == (64, 64, 3)
