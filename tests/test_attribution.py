"""What an answer depends on: saliency, Grad-CAM, occlusion and class maps find what is there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.inspection.class_maps import ClassMap, class_map, draw_class_map, most_probable, placed
from jaxcnn.inspection.feature_maps import map_layers
from jaxcnn.inspection.gradcam import draw_grad_cam, grad_cam, stretched
from jaxcnn.inspection.occlusion import at_centres, draw_occlusion, occluded
from jaxcnn.inspection.saliency import draw_saliency, saliency
from jaxcnn.inspection.scores import class_called
from jaxcnn.inspection.shades import Scale
from jaxcnn.models import VGG, GoogLeNet, ResNet, ZFNet
from jaxcnn.models.vgg import CONFIGURATIONS
from tests.inspected import Brightest, Linear, Small, drawn, pictures_of, texts
from tests.networks import initialized

RED, BLUE = (1, 0, 0), (0, 0, 1)


def scene(size=24, **patches):
    """Grey noise with 5 x 5 patches of a colour: ``red=(top, left)``."""
    image = np.random.default_rng(0).uniform(0, 0.2, (size, size, 3)).astype(np.float32)
    for name, (top, left) in patches.items():
        image[top : top + 5, left : left + 5] = {"red": RED, "blue": BLUE}[name]
    return image


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


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (GoogLeNet(width=4, num_classes=3, auxiliary=False), "inception_4a/relu1x1"),
        (ResNet(blocks=(1, 1), width=4, num_classes=3, small_images=True), "stage1/block1/bn2"),
    ],
)
def test_grad_cam_weighs_by_the_derivative_within_branches(model, layer, compile_quickly):
    variables = initialized(model, (1, 32, 32, 1))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 1)).astype(np.float32)
    found = grad_cam(model, variables, images, jnp.array([2]), layer)
    # Measured: the derivative along a constant change of every map.
    path = layer.split("/")

    def perturbed(change):
        from flax import linen as nn

        kept = []

        def interceptor(method, args, kwargs, context):
            output = method(*args, **kwargs)
            if list(context.module.path) == path and context.method_name == "__call__":
                kept.append(output)
                output = output + change
            return output

        with nn.intercept_methods(interceptor):
            return model.apply(variables, images)[0, 2], kept[0]

    channels = perturbed(0.0)[1].shape[-1]
    maps = perturbed(0.0)[1]
    _, slopes = jax.jvp(
        jax.vmap(lambda change: perturbed(change)[0]),
        (jnp.zeros((channels, channels)),),
        (jnp.eye(channels),),
    )
    expected = np.maximum((maps * slopes / (maps.shape[1] * maps.shape[2])).sum(axis=-1), 0)
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
        over = placed(found.probabilities[..., label], found, image.shape)
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
    whole = placed(found.probabilities[..., 0], found, image.shape)
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
    with pytest.raises(UserError, match="a step of 4 pixels does not divide the stride of 2"):
        class_map(model, variables, jnp.asarray(image), window=8, step=4)


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
    with pytest.raises(UserError, match="Linear has no dense form"):
        class_map(Linear(), drawn(Linear(), (1, 24, 24, 3)), image, window=24)
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
    assert np.unravel_index(hottest.argmax(), (8, 8)) >= (5, 5)
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


def test_colours_stand_about_the_centres_of_the_squares():
    colors = np.zeros((3, 3, 3), np.uint8)
    colors[1, 2] = (255, 0, 0)
    picture = at_centres(colors, (10, 10, 1), size=4, stride=3)
    # The square of the second row and third column begins at (3, 6): its middle is 4, 5 by 7, 8.
    assert np.argwhere((picture == (255, 0, 0)).all(axis=-1)).mean(axis=0).tolist() == [4, 7]
