"""The protocols of evaluation against plain loops, written out from the papers' words."""

import cv2
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.evaluation.protocols import (
    CROPS,
    METHODS,
    Look,
    crops,
    looks,
    show,
    usual_scales,
    whole,
)

SIZES = [(64, 64), (64, 91), (97, 64), (65, 200)]


def picture(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def square_at(image, top, left, size):
    return image[int(top) : int(top) + size, int(left) : int(left) + size]


def with_flips(views):
    return views + [np.fliplr(view) for view in views]


def corners_and_center(image, size):
    height, width = image.shape[:2]
    bottom, right = height - size, width - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom / 2, right / 2)]
    return [square_at(image, np.rint(top), np.rint(left), size) for top, left in places]


def loop(image, protocol, size):
    height, width = image.shape[:2]
    shorter = min(height, width)
    if protocol == "center":
        return corners_and_center(image, size)[4:]
    if protocol == "ten_crop":
        (central,) = corners_and_center(image, shorter)[4:]
        return with_flips(corners_and_center(central, size))
    if protocol == "multi_crop":
        views = []
        for i in range(5):
            for j in range(5):
                top, left = (height - size) / 4 * i, (width - size) / 4 * j
                views.append(square_at(image, np.rint(top), np.rint(left), size))
        return with_flips(views)
    views = []
    for share in (0, 0.5, 1):
        top, left = np.rint((height - shorter) * share), np.rint((width - shorter) * share)
        square = square_at(image, top, left, shorter)
        small = cv2.resize(square, (size, size)).reshape(size, size, -1)
        views += with_flips([*corners_and_center(square, size), small])
    return views


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("protocol", "count"),
    [("center", 1), ("ten_crop", 10), ("multi_crop", 50), ("googlenet_144", 144 // 4)],
)
def test_crops_are_those_of_a_plain_loop(protocol, count, channels, size):
    image = picture(*size, channels)
    views = crops(image, protocol, 56)
    assert views.shape == (count, 56, 56, channels)
    assert views.dtype == np.uint8
    np.testing.assert_array_equal(views, loop(image, protocol, 56))


@pytest.mark.parametrize("protocol", CROPS)
def test_a_scale_of_the_crops_size_gives_whole_squares(protocol):
    views = crops(picture(56, 56), protocol, 56)
    for view in views:
        assert any((view == of).all() for of in (picture(56, 56), np.fliplr(picture(56, 56))))


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(UserError, match="a scale of 55 pixels is too small for crops of 56"):
        crops(picture(55, 90), "center", 56)
    with pytest.raises(UserError, match="did you mean 'ten_crop'"):
        crops(picture(64, 64), "tencrop", 56)


@pytest.mark.parametrize("size", [(256, 341), (383, 256), (64, 64)])
def test_a_whole_image_loses_less_than_a_stride(size):
    image = picture(*size)
    cut = whole(image, 32)
    assert all(side % 32 == 0 for side in cut.shape[:2])
    lost = [before - after for before, after in zip(size, cut.shape[:2], strict=True)]
    assert max(lost) < 32
    top, left = lost[0] // 2, lost[1] // 2
    np.testing.assert_array_equal(cut, image[top:, left:][: cut.shape[0], : cut.shape[1]])


@pytest.mark.parametrize("protocol", METHODS)
def test_every_protocol_looks_by_its_methods_at_every_scale(protocol):
    found = looks(protocol, (64, 72))
    assert len(found) == 2 * len(METHODS[protocol]) == len(set(found))
    image = picture(72, 100)
    for look in found:
        shown = show(image, look, 56, 8)
        expected = whole(image, 8) if look.method == "dense" else crops(image, look.method, 56)
        np.testing.assert_array_equal(shown, expected)
        assert look.scale in (64, 72)


def test_both_methods_count_the_same():
    methods = [look.method for look in looks("dense+multi_crop", (256, 384, 512))]
    assert methods == ["dense"] * 3 + ["multi_crop"] * 3
    with pytest.raises(UserError, match="no protocol 'densee'; did you mean 'dense'"):
        looks("densee", (256,))
    assert looks("center", (256,)) == (Look("center", 256),)


def test_googlenets_scales_are_its_own():
    assert usual_scales("googlenet_144", 256, 224) == (256, 288, 320, 352)
    assert usual_scales("googlenet_144", 32, 28) == (32, 36, 40, 44)
    assert usual_scales("dense", 384, 224) == (384,)
