"""What a network answers all over an image."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.inspection.centres import at_centres
from jaxcnn.inspection.class_maps import ClassMap, class_map, draw_class_map, most_probable
from jaxcnn.inspection.shades import Scale
from jaxcnn.models import VGG, ResNet, ZFNet
from jaxcnn.models.vgg import CONFIGURATIONS
from tests.inspected import Brightest, Linear, drawn, pictures_of, scene, texts
from tests.networks import initialized


def test_the_answers_of_a_class_map_are_where_the_objects_are():
    model, variables = Brightest(), Brightest.variables()
    image = jnp.asarray(scene(red=(3, 4), blue=(15, 12)))
    found = class_map(model, variables, image, window=3)
    assert (found.window, found.stride, found.probabilities.shape) == (3, 1, (22, 22, 2))
    for label, (top, left) in enumerate([(3, 4), (15, 12)]):
        best = np.argwhere(found.probabilities[..., label] > 0.999)
        # Windows of 3 x 3 that lie in the patch of 5 x 5.
        assert best.min(axis=0).tolist() == [top, left]
        assert best.max(axis=0).tolist() == [top + 2, left + 2]
        over = at_centres(
            found.probabilities[..., label],
            image.shape,
            found.window,
            found.stride,
            background=np.nan,
        )
        row, column = np.argwhere(over > 0.999).mean(axis=0)
        assert (row, column) == (top + 2, left + 2)
    assert most_probable(found, 5) in ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("model", "window", "stride"),
    [
        (VGG(groups=CONFIGURATIONS["A"][:2], width=4, hidden=(4,), pooled_size=2), 8, 4),
        (ZFNet(width=3, hidden=(4,), pooled_size=1, num_classes=3), 64, 32),
        (ResNet(blocks=(1, 1), width=4, small_images=True, pooled_size=4), 8, 2),
    ],
)
def test_positions_of_real_networks_are_a_stride_apart(model, window, stride, compile_quickly):
    variables = initialized(model, (1, window, window, 1))
    size = window + 2 * stride
    image = np.random.default_rng(0).normal(size=(size, window, 1)).astype(np.float32)
    found = class_map(model, variables, jnp.asarray(image), window=window)
    assert (found.stride, found.probabilities.shape[:2]) == (stride, (3, 1))
    whole = at_centres(
        found.probabilities[..., 0], image.shape, found.window, found.stride, background=np.nan
    )
    start = (window - stride) // 2
    assert np.argwhere(~np.isnan(whole)).min(axis=0).tolist() == [start, start]
    np.testing.assert_array_equal(whole[start, start], found.probabilities[0, 0, 0])
    np.testing.assert_array_equal(whole[start + stride, start], found.probabilities[1, 0, 0])


def test_answers_between_those_of_the_stride_are_those_of_a_shifted_image(compile_quickly):
    model = ResNet(blocks=(1, 1), width=4, small_images=True, pooled_size=4, num_classes=3)
    variables = initialized(model, (1, 8, 8, 1))
    image = np.random.default_rng(0).normal(size=(13, 15, 1)).astype(np.float32)
    found = class_map(model, variables, jnp.asarray(image), window=8, step=1)
    assert (found.stride, found.probabilities.shape) == (1, (6, 8, 3))
    for i, j in np.ndindex(2, 2):
        shifted = class_map(model, variables, jnp.asarray(image[i : i + 12, j : j + 14]), window=8)
        np.testing.assert_allclose(
            found.probabilities[i::2, j::2], shifted.probabilities, atol=1e-5
        )
    with pytest.raises(UserError, match="a step of 4 pixels does not divide the network's stride"):
        class_map(model, variables, jnp.asarray(image), window=8, step=4)


def test_a_network_without_a_dense_form_is_refused():
    with pytest.raises(UserError, match="Linear has no dense form"):
        class_map(Linear(), drawn(Linear(), (1, 24, 24, 3)), jnp.zeros((24, 24, 3)), window=24)


def test_the_picture_has_the_probabilities_where_they_are(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    image, path = np.zeros((8, 8, 3), np.uint8), tmp_path / "picture.png"
    probabilities = np.zeros((2, 3, 2))
    probabilities[..., 0], probabilities[0, 1] = 1, (0.1, 0.9)
    draw_class_map(
        ClassMap(probabilities, 4, 2), image[:6], path, title="t", class_names=("sky", "bird")
    )
    assert {"sky: up to 100.0 %", "bird: up to 90.0 %"} <= set(texts(figures[-1]))
    bird = np.asarray(figures[-1].axes[0].images[2].get_array(), int)
    hot = Scale("turbo", 0, 1, "")(np.array([[0.9]]))[0, 0]
    # Position (0, 1) is about pixels 1 + 0 and 1 + 2 and the next; the opacity is 0.25 + 0.4 * 0.9.
    np.testing.assert_array_equal(bird[1, 3], np.round(0.61 * hot))
    np.testing.assert_array_equal(bird[0, 0], 0)
