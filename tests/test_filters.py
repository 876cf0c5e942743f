"""Filters, one convolution, feature maps and augmented copies as pictures."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.inspection.augmented import draw_augmented
from jaxcnn.inspection.convolution import SETTINGS, Setting, convolved, draw_convolutions
from jaxcnn.inspection.feature_maps import draw_feature_maps, feature_maps
from jaxcnn.inspection.filters import draw_filters, filter_pictures, filters
from jaxcnn.inspection.shades import Scale, around_zero
from tests.inspected import Brightest, Small, drawn, pictures_of, texts


def test_a_filters_picture_is_its_weights_grey_being_zero():
    kernels = np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype(np.float32)
    kernels[1, 1, :, 2] = 0
    pictures = filter_pictures(kernels)
    assert pictures.shape == (5, 3, 3, 3)
    for number in range(5):
        kernel = kernels[..., number]
        back = (pictures[number].astype(float) - 128) / 127 * np.abs(kernel).max()
        np.testing.assert_allclose(back, kernel, atol=np.abs(kernel).max() / 253)
        assert {1, 255} & set(pictures[number].ravel().tolist())
    assert pictures[2, 1, 1].tolist() == [128, 128, 128]
    np.testing.assert_array_equal(filter_pictures(kernels, order="BGR"), pictures[..., ::-1])


def test_the_first_convolution_is_found_and_drawn(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    model = Small()
    variables = drawn(model)
    name, kernels = filters(model, variables, (1, 8, 8, 2))
    assert name == "conv1"
    np.testing.assert_array_equal(kernels, variables["params"]["conv1"]["kernel"])
    with pytest.raises(UserError, match="did you mean 'conv2'"):
        filters(model, variables, (1, 8, 8, 2), "conv3")
    with pytest.raises(UserError, match="filters of 2 inputs are no pictures"):
        draw_filters(kernels, tmp_path / "a.png", title="t")
    _, kernels = filters(model, variables, (1, 8, 8, 2), "conv2")
    draw_filters(kernels, tmp_path / "a.png", title="small: conv2", channel=4)
    # One bound for all the filters of a channel.
    bound = np.abs(kernels[..., 4]).max()
    for number, image in enumerate(figures[-1].axes[0].images):
        expected = around_zero(kernels[:, :, number, 4], bound)
        np.testing.assert_array_equal(image.get_array(), expected)
    assert {"0", "1", "2", "3", "small: conv2"} <= set(texts(figures[-1]))
    with pytest.raises(UserError, match="there is no channel 5; the 5 are 0 to 4"):
        draw_filters(kernels, tmp_path / "a.png", title="t", channel=5)


def test_one_convolution_changes_the_size_as_it_should(monkeypatch, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1)).astype(np.uint8)
    rows = {
        what: [convolved(jnp.asarray(image / 255), s, channels=2, seed=0).shape for s in row]
        for what, row in SETTINGS.items()
    }
    assert rows == {
        "kernel": [(28, 28, 2), (26, 26, 2), (24, 24, 2)],
        "stride": [(28, 28, 2), (10, 10, 2), (6, 6, 2)],
        "padding": [(28, 28, 2), (30, 30, 2), (32, 32, 2)],
    }
    figures = pictures_of(monkeypatch)
    draw_convolutions(image, tmp_path / "a.png", name="a digit", channels=2)
    headings = {"kernel 5: 28 x 28 to 24 x 24", "stride 3: 28 x 28 to 10 x 10"}
    assert headings <= set(texts(figures[0]))
    maps = np.asarray(convolved(jnp.asarray(image / 255), Setting(stride=5), channels=2, seed=0))
    shown = figures[0].axes[0].images[2 * 3 + 2 * 2 + 1].get_array()
    np.testing.assert_array_equal(shown, around_zero(maps[..., 1]))
    with pytest.raises(UserError, match="a kernel of 29 does not fit an image of 28 pixels"):
        convolved(jnp.asarray(image), Setting(kernel=29), channels=1, seed=0)


def test_feature_maps_are_the_layers_output_by_channel(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    model, variables = Brightest(), Brightest.variables()
    image = np.zeros((9, 9, 3), np.uint8)
    image[2:5, 3:6, 0], image[5:8, 0:3, 2] = 255, 128
    maps = np.asarray(feature_maps(model, variables, jnp.asarray(image[None] / 255), "relu1"))[0]
    draw_feature_maps(maps, image, tmp_path / "a.png", title="t", layer="relu1")
    pictures = [image.get_array() for image in figures[-1].axes[0].images]
    scale = Scale("inferno", 0, 1, "")
    np.testing.assert_array_equal(pictures[0], image)
    # The red patch lights the first channel, the blue one half as much the second.
    assert pictures[1][2, 3].tolist() == scale(np.ones((1, 1)))[0, 0].tolist()
    assert pictures[2][5, 0].tolist() == scale(np.full((1, 1), 128 / 255))[0, 0].tolist()
    assert (pictures[3] == scale(np.zeros((1, 1)))[0, 0]).all()
    draw_feature_maps(
        maps, image, tmp_path / "a.png", title="t", layer="relu1", channels=[1], each_scaled=True
    )
    pictures = [image.get_array() for image in figures[-1].axes[0].images]
    assert len(pictures) == 2
    assert pictures[1][5, 0].tolist() == scale(np.ones((1, 1)))[0, 0].tolist()
    signed = maps - 0.5
    draw_feature_maps(signed, image, tmp_path / "a.png", title="t", layer="conv1", most=2)
    assert any("the first 2 are drawn" in line for line in texts(figures[-1]))
    with pytest.raises(UserError, match="layer 'logits' comes after the maps: of an image it"):
        feature_maps(model, variables, jnp.zeros((1, 9, 9, 3)), "logits")


def test_augmented_copies_stand_beside_their_image(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    copies = np.stack([image[:, i : i + 6] for i in range(4)])
    draw_augmented(image, copies, tmp_path / "a.png", title="recipe: photo", how="cropped")
    shown = [each.get_array() for each in figures[0].axes[0].images]
    np.testing.assert_array_equal(shown[0], image)
    np.testing.assert_array_equal(np.stack(shown[1:]), copies)
    assert {"recipe: photo", "cropped", "0", "3"} <= set(texts(figures[0]))
