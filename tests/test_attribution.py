"""What an answer depends on: saliency, Grad-CAM and occlusion find what is there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.inspection.centres import at_centres
from jaxcnn.inspection.feature_maps import map_layers
from jaxcnn.inspection.gradcam import draw_grad_cam, grad_cam, stretched
from jaxcnn.inspection.occlusion import draw_occlusion, occluded
from jaxcnn.inspection.saliency import draw_saliency, saliency
from jaxcnn.inspection.scores import class_called
from jaxcnn.inspection.shades import Scale
from jaxcnn.models import ZFNet
from tests.inspected import Branched, Brightest, Linear, Small, drawn, pictures_of, scene, texts
from tests.networks import initialized


def test_saliency_of_a_linear_network_is_the_size_of_its_weights():
    model = Linear()
    variables = drawn(model, (1, 6, 7, 3))
    images = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
    found = saliency(model, variables, images, jnp.array([2, 0]))
    kernel = np.asarray(variables["params"]["logits"]["kernel"])
    for one, label in zip(found, (2, 0), strict=True):
        expected = np.abs(kernel[:, label].reshape(6, 7, 3)).max(axis=-1)
        np.testing.assert_allclose(one, expected, rtol=1e-4)


def test_saliency_is_the_gradient_by_default_and_guided_is_not():
    model = Small()
    variables = drawn(model)
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32)
    gradient = jax.grad(lambda x: model.apply(variables, x)[0, 1])(images)
    found = saliency(model, variables, images, jnp.array([1]))
    np.testing.assert_allclose(found, np.abs(gradient).max(axis=-1), rtol=1e-4, atol=1e-6)
    guided = saliency(model, variables, images, jnp.array([1]), rule="guided")
    assert not np.allclose(found, guided, atol=1e-3)


def test_grad_cam_of_a_class_that_depends_on_one_channel_is_that_channel():
    model = Small()
    variables = drawn(model)
    head = np.zeros((5, 3), np.float32)
    head[3, 1], head[2, 0] = 2.0, -2.0
    variables["params"]["logits"]["kernel"] = jnp.array(head)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
    _, state = model.apply(variables, images, capture_intermediates=True)
    maps = state["intermediates"]["relu2"]["__call__"][0]
    # The score is 2 times the mean over 16 positions, so that a position's derivative is 2 / 16.
    found = grad_cam(model, variables, images, jnp.array([1, 1]), "relu2")
    np.testing.assert_allclose(found, maps[..., 3] * 2 / 16, rtol=1e-4, atol=1e-6)
    assert np.asarray(maps[..., 3]).max() > 0.1
    # What speaks against a class is none of its evidence.
    against = grad_cam(model, variables, images, jnp.array([0, 0]), "relu2")
    np.testing.assert_array_equal(against, 0)


@pytest.mark.parametrize("layer", ["left/relu", "right/relu", "both"])
def test_grad_cam_weighs_by_the_derivative_within_branches(layer):
    model = Branched()
    variables = drawn(model)
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32)
    found = grad_cam(model, variables, images, jnp.array([2]), layer)

    def score(changes):
        """Of class 2 where each map of the layer is larger by a constant, and the maps."""
        kept = []

        def interceptor(method, args, kwargs, context):
            output = method(*args, **kwargs)
            if context.module.path == tuple(layer.split("/")) and context.method_name == "__call__":
                kept.append(output)
                output = output + changes
            return output

        with nn.intercept_methods(interceptor):
            return model.apply(variables, images)[0, 2], kept[0]

    channels = {"both": 6}.get(layer, 3)
    _, maps = score(jnp.zeros(channels))
    slopes = jnp.stack(
        [
            jax.jvp(lambda c: score(c)[0], (jnp.zeros(channels),), (unit,))[1]
            for unit in jnp.eye(channels)
        ]
    )
    expected = np.maximum((maps * slopes / 64).sum(axis=-1), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert np.asarray(found).max() > 0


def test_an_occlusion_map_finds_a_planted_patch():
    model, variables = Brightest(), Brightest.variables()
    image = jnp.asarray(scene(red=(4, 13)))
    found = occluded(model, variables, image, 0, "relu1", size=7, stride=1, fill=0.1)
    probability = np.asarray(found.probability)
    assert probability.shape == (18, 18)
    # Where the square hides all of the patch: it begins 0 to 2 pixels before it.
    hidden = np.argwhere(probability < 0.6)
    assert hidden.min(axis=0).tolist() == [2, 11]
    assert hidden.max(axis=0).tolist() == [4, 13]
    assert probability[15, 2] > 0.9
    assert int(found.channel) == 0
    activation = np.asarray(found.activation)
    low = np.argwhere(activation < activation.min() + 1e-3)
    assert (low >= [2, 11]).all()
    assert (low <= [4, 13]).all()
    assert set(np.unique(found.answer).tolist()) <= {0, 1}


def test_occlusion_is_what_a_loop_finds_whatever_goes_at_once():
    model, variables = Brightest(), Brightest.variables()
    image = scene(red=(4, 13), blue=(12, 2))
    for at_once in (1, 5, 64):
        found = occluded(
            model, variables, jnp.asarray(image), 1, "relu1", size=6, stride=5, at_once=at_once
        )
        for row, column in np.ndindex(4, 4):
            hidden = image.copy()
            hidden[5 * row : 5 * row + 6, 5 * column : 5 * column + 6] = 0
            logits = model.apply(variables, hidden[None])[0]
            assert found.probability[row, column] == pytest.approx(
                float(jax.nn.softmax(logits)[1]), rel=1e-4
            )
            assert found.answer[row, column] == logits.argmax()


def test_the_last_maps_are_those_before_the_last_pool():
    model = ZFNet(width=3, hidden=(4,), pooled_size=3)
    variables = initialized(model, (1, 128, 128, 1))
    names = map_layers(model, variables, jnp.zeros((1, 128, 128, 1)))
    assert names[0] == "conv1"
    assert names[-1] == "relu5"
    assert "pool1" not in names


def test_what_cannot_be_asked_is_said():
    model, variables = Brightest(), Brightest.variables()
    image = jnp.asarray(scene())
    with pytest.raises(UserError, match="a square of 25 pixels and steps of 1 do not fit an image"):
        occluded(model, variables, image, 0, "relu1", size=25)
    with pytest.raises(UserError, match="layer 'logits' comes after the maps"):
        occluded(model, variables, image, 0, "logits", size=5)
    with pytest.raises(UserError, match="did you mean 'relu1'"):
        grad_cam(model, variables, image[None], jnp.array([0]), "relu")
    names = ("tabby", "tiger cat")
    assert class_called("tabby", 2, names) == 0
    assert class_called("1", 2, names) == 1
    with pytest.raises(UserError, match="there is no class 'tabbi'; did you mean 'tabby'"):
        class_called("tabbi", 2, names)
    with pytest.raises(UserError, match="there is no class 2; the 2 are 0 to 1"):
        class_called("2", 2, None)


def colors_at(figure, number, row, column):
    return figure.axes[0].images[number].get_array()[row, column].tolist()


def test_the_pictures_show_the_numbers_that_were_found(monkeypatch, tmp_path):
    figures = pictures_of(monkeypatch)
    image = np.zeros((8, 8, 3), np.uint8)
    path = tmp_path / "picture.png"
    salient = np.arange(64.0).reshape(8, 8)
    draw_saliency(salient, image, path, title="network: photo", name="tabby")
    scale = Scale("inferno", 0, 63, "")
    assert colors_at(figures[-1], 1, 7, 7) == scale(np.array([[63.0]]))[0, 0].tolist()
    assert colors_at(figures[-1], 1, 0, 0) == [0, 0, 4]
    assert {"image", "saliency", "over the image", "0", "63"} <= set(texts(figures[-1]))
    assert "network: photo" in texts(figures[-1])
    assert any("'tabby'" in line for line in texts(figures[-1]))

    maps = np.array([[0.0, 0.0], [0.0, 1.0]])
    draw_grad_cam(maps, image, path, title="", name="tabby", layer="relu5")
    assert "relu5: 2 x 2" in texts(figures[-1])
    over = figures[-1].axes[0].images[2].get_array()
    hottest = np.asarray(over, int)[..., 0] - np.asarray(over, int)[..., 2]
    assert min(np.unravel_index(hottest.argmax(), (8, 8))) >= 5
    assert stretched(maps, 8, 8)[7, 7] == 1

    model, variables = Brightest(), Brightest.variables()
    pixels = np.round(255 * scene(red=(4, 13))).astype(np.uint8)
    found = occluded(
        model, variables, jnp.asarray(pixels / 255, jnp.float32), 0, "relu1", size=7, fill=0.1
    )
    shown = {"label": 0, "class_names": ("red thing", "blue"), "layer": "relu1"}
    draw_occlusion(found, pixels, path, title="t", size=7, stride=1, grey=26, **shown)
    # Least probable where the patch's middle is hidden: its colour is the first of the scale.
    probable = figures[-1].axes[0].images[2].get_array()
    darkest = np.argwhere(
        (np.asarray(probable) == Scale("viridis", 0, 1, "")(np.zeros((1, 1)))[0, 0]).all(-1)
    )
    assert np.abs(darkest.mean(axis=0) - (6, 15)).max() <= 1
    example = np.asarray(figures[-1].axes[0].images[1].get_array())
    assert (example == 26).all(axis=-1).sum() == 49
    assert any("red thing" in line for line in texts(figures[-1]))


def test_colours_stand_about_the_centres_of_the_squares():
    colors = np.zeros((3, 3, 3), np.uint8)
    colors[1, 2] = (255, 0, 0)
    picture = at_centres(colors, (10, 10, 1), size=4, stride=3, background=255)
    # The square of the second row and third column begins at (3, 6): its middle is 4, 5 by 7, 8.
    assert np.argwhere((picture == (255, 0, 0)).all(axis=-1)).mean(axis=0).tolist() == [4, 7]
    # Of single pixels 3 apart, that of the second row and third column is at (3, 6).
    picture = at_centres(colors, (10, 10, 1), size=1, stride=3, background=255)
    assert np.argwhere((picture == (255, 0, 0)).all(axis=-1)).mean(axis=0).tolist() == [3, 6]
