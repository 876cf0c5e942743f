"""Probabilities from many views of an image, against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import QUICKLY, initialized

from jaxcnn import models
from jaxcnn.evaluation.predictions import predict_crops, predict_whole
from jaxcnn.preprocessing import Preprocessing

MODEL = models.VGG(
    groups=((64, (3,)), (128, (3,))), num_classes=5, width=4, hidden=(8,), pooled_size=3
)
PREPARE = Preprocessing(mean=(120.0, 115.0, 100.0), std=(60.0, 61.0, 62.0))
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)


@pytest.fixture(scope="module")
def variables():
    return initialized(MODEL)


def pixels(*shape):
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


def softmax(scores):
    return np.asarray(jax.nn.softmax(scores))


@pytest.mark.parametrize("at_once", [1, 6, 20, 256])
def test_the_softmax_outputs_of_crops_are_averaged(variables, at_once):
    crops = pixels(3, 10, 12, 12, 3)
    ours = compiled(predict_crops(MODEL, PREPARE, at_once=at_once))(variables, crops)
    expected = [
        np.mean([softmax(MODEL.apply(variables, PREPARE(crop[None]))) for crop in image], axis=0)[0]
        for image in crops
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    np.testing.assert_allclose(ours.sum(-1), 1, rtol=1e-5)


def test_the_scores_of_a_whole_image_are_averaged_and_then_the_softmax_of_it_and_its_mirror(
    variables,
):
    images = pixels(2, 16, 24, 3)
    ours = compiled(predict_whole(MODEL, PREPARE))(variables, images)
    total = 0
    for side in (images, images[:, :, ::-1]):
        # 4 x 6 positions of the last map: 2 x 4 windows of 3 x 3, each by the fully connected form.
        found = models.features(MODEL, variables, PREPARE(side), ("pool2",), dense=True)["pool2"]
        scores = []
        for i in range(2):
            for j in range(4):
                x = found[:, i : i + 3, j : j + 3].reshape(2, -1)
                for layer in ("fc3", "logits"):
                    weights = variables["params"][layer]
                    x = x @ weights["kernel"] + weights["bias"]
                    x = x if layer == "logits" else jnp.maximum(x, 0)
                scores.append(x)
        total += softmax(np.mean(scores, axis=0)) / 2
    np.testing.assert_allclose(ours, total, rtol=1e-4)


def test_an_image_and_its_mirror_have_the_same_probabilities(variables):
    images = pixels(2, 16, 20, 3)
    predict = compiled(predict_whole(MODEL, PREPARE))
    mirrored = predict(variables, images[:, :, ::-1])
    np.testing.assert_allclose(predict(variables, images), mirrored, rtol=1e-5)
