"""The images that excite a channel most, and what of them the unit sees."""

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.inspection.backward import layer_of
from jaxcnn.inspection.projections import project
from jaxcnn.inspection.strongest import draw_strongest, patches, strongest
from tests.inspected import Small, drawn, pictures_of, texts

MODEL = Small()
VARIABLES = drawn(MODEL, (1, 12, 12, 1))
PIXELS = np.random.default_rng(0).integers(0, 256, (23, 12, 12, 1)).astype(np.uint8)
IMAGES = (PIXELS / 255).astype(np.float32)


@pytest.mark.parametrize("layer", ["conv1", "relu2", "logits"])
def test_they_are_those_that_a_search_of_everything_finds(layer):
    batches = [IMAGES[:10], IMAGES[10:20], IMAGES[20:]]
    channels = [2, 0]
    found = strongest(MODEL, VARIABLES, batches, layer, channels)
    maps = np.asarray(layer_of(MODEL, VARIABLES, IMAGES, layer))
    maps = maps.reshape(23, *(maps.shape[1:3] if maps.ndim == 4 else (1, 1)), maps.shape[-1])
    for index, channel in enumerate(channels):
        peaks = maps[..., channel].max(axis=(1, 2))
        nine = sorted(range(23), key=lambda number: (-peaks[number], number))[:9]
        assert found.images[index].tolist() == nine
        np.testing.assert_allclose(found.values[index], peaks[nine], rtol=1e-4)
        for number, place in zip(nine, found.places[index], strict=True):
            best = maps[number, ..., channel].argmax()
            assert tuple(place) == np.unravel_index(best, maps.shape[1:3])


def test_of_equal_ones_the_earlier_comes_first_and_few_are_all():
    same = np.repeat(IMAGES[:1], 4, axis=0)
    found = strongest(MODEL, VARIABLES, [same[:2], same[2:]], "conv1", [1])
    assert found.images.tolist() == [[0, 1, 2, 3]]
    assert found.places.shape == (1, 4, 2)


def test_wrong_names_are_said():
    with pytest.raises(UserError, match="has no channel 9"):
        strongest(MODEL, VARIABLES, [IMAGES], "conv1", [9])
    with pytest.raises(UserError, match="did you mean 'conv2'"):
        strongest(MODEL, VARIABLES, [IMAGES], "conv", [0])


def test_patches_are_what_the_unit_sees_and_no_more(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    found = strongest(MODEL, VARIABLES, [IMAGES], "conv1", [3], count=4)
    chosen = found.images[0]
    places = np.array([[5, 5], [0, 0], [11, 4], [6, 11]])
    parts = patches(MODEL, VARIABLES, IMAGES[chosen], PIXELS[chosen], "conv1", 3, places)
    assert {part.pixels.shape for part in parts} == {(3, 3, 3)}
    inside, corner, below, right = (part.pixels[..., 0] for part in parts)
    np.testing.assert_array_equal(inside, PIXELS[chosen[0], 4:7, 4:7, 0])
    np.testing.assert_array_equal(corner[1:, 1:], PIXELS[chosen[1], :2, :2, 0])
    assert (corner[0] == 255).all()
    assert (corner[:, 0] == 255).all()
    np.testing.assert_array_equal(below[:2], PIXELS[chosen[2], 10:, 3:6, 0])
    assert (below[2] == 255).all()
    np.testing.assert_array_equal(right[:, :2], PIXELS[chosen[3], 5:8, 10:, 0])
    assert (right[:, 2] == 255).all()

    peaks = strongest(MODEL, VARIABLES, [np.asarray(IMAGES[chosen])], "relu2", (3,), count=4)
    chosen = np.asarray(chosen)[peaks.images[0]]
    parts = patches(MODEL, VARIABLES, IMAGES[chosen], PIXELS[chosen], "relu2", 3, peaks.places[0])
    whole = project(MODEL, VARIABLES, IMAGES[chosen], "relu2", [[3]] * 4).pixels[:, 0]
    (size,) = {part.projection.shape[:2] for part in parts}
    assert max(size) <= 8
    for part, one in zip(parts, np.asarray(whole), strict=True):  # nothing of it lies elsewhere
        np.testing.assert_allclose(np.abs(part.projection).sum(), np.abs(one).sum(), rtol=1e-5)

    draw_strongest({3: parts}, found.values, tmp_path / "a.png", title="t", layer="relu2")
    (figure,) = figures
    assert len(figure.axes[0].images) == 8
    assert {"relu2, channel 3: the deconvnet", "what the unit sees"} <= set(texts(figure))
    assert f"{found.values[0, 0]:.3g}" in texts(figure)
    np.testing.assert_array_equal(figure.axes[0].images[4].get_array(), parts[0].pixels)
