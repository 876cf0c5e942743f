"""Dense evaluation is the network at every window, at several sizes of images.

A window that is cut out has zeros around it in every convolution, where within the image it has
what surrounds it there. So a position of the map equals the network on the window that is cut out
where no convolution reaches over the edge (kernels of 1), and in every network: the fully connected
layers on that window of the last map; and the network on the window with as much of the image
around it as its convolutions reach, up to the image's own edge.
"""

import numpy as np
import pytest
from networks import apply, features, initialized, pictures

from jaxcnn import models

SIZES = [(48, 48), (64, 48), (56, 72)]


@pytest.mark.parametrize("size", SIZES)
def test_without_padding_it_is_the_network_on_every_window(size):
    model = models.VGG(
        groups=((64, (1, 1)), (128, (1,))), num_classes=5, width=4, hidden=(8,), pooled_size=3
    )
    variables, image = initialized(model), pictures(1, *size, 3)
    dense = np.asarray(apply(model, variables, image, dense=True))
    rows, columns = size[0] // 4 - 2, size[1] // 4 - 2
    assert dense.shape == (1, rows, columns, 5)
    windows = np.concatenate(
        [
            image[:, 4 * i : 4 * i + 12, 4 * j : 4 * j + 12]
            for i in range(rows)
            for j in range(columns)
        ]
    )
    single = np.asarray(apply(model, variables, windows)).reshape(dense.shape)
    np.testing.assert_allclose(dense, single, rtol=0, atol=1e-5 * np.std(single))


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_network_on_every_window_within_its_surroundings(size):
    # Windows of 16 pixels, 8 apart; the convolutions reach 2 * (1 + 2 + 4) = 14 pixels further.
    model = models.VGG(
        groups=((64, (3, 3)), (128, (3, 3)), (256, (3, 3))),
        num_classes=5,
        width=4,
        hidden=(8,),
        pooled_size=2,
    )
    stride, window, reach = 8, 16, 16
    variables, image = initialized(model), pictures(1, *size, 3)
    dense = np.asarray(apply(model, variables, image, dense=True))
    for i, j in np.ndindex(*dense.shape[1:3]):
        top, left = (max(0, stride * place - reach) for place in (i, j))
        bottom, right = (stride * place + window + reach for place in (i, j))
        around = np.asarray(apply(model, variables, image[:, top:bottom, left:right], dense=True))
        at = i - top // stride, j - left // stride
        np.testing.assert_allclose(
            dense[:, i, j], around[:, at[0], at[1]], rtol=0, atol=1e-5 * np.std(dense)
        )


def test_the_surroundings_matter():
    """Else the test above would say no more than the one before it."""
    model = models.VGG(
        groups=((64, (3, 3)), (128, (3,))), num_classes=5, width=4, hidden=(8,), pooled_size=3
    )
    variables, image = initialized(model), pictures(1, 36, 36, 3)
    dense = np.asarray(apply(model, variables, image, dense=True))
    alone = np.asarray(apply(model, variables, image[:, 12:24, 12:24]))
    assert np.abs(dense[:, 3, 3] - alone).max() > 1e-2 * np.std(dense)


@pytest.mark.parametrize("size", [(224, 224), (256, 288), (320, 224)])
def test_of_vgg_16_it_is_the_head_on_every_window_of_the_last_map(size):
    model = models.VGG16(num_classes=5, width=1, hidden=(8, 6))
    variables, image = initialized(model), pictures(1, *size, 3)
    found = features(model, variables, image, ("pool5", "logits"), dense=True)
    dense, last = np.asarray(found["logits"]), np.asarray(found["pool5"])
    assert dense.shape == (1, size[0] // 32 - 6, size[1] // 32 - 6, 5)
    for i, j in np.ndindex(*dense.shape[1:3]):
        x = last[:, i : i + 7, j : j + 7].reshape(1, -1)
        for layer in ("fc6", "fc7", "logits"):
            weights = variables["params"][layer]
            x = x @ weights["kernel"] + weights["bias"]
            x = x if layer == "logits" else np.maximum(x, 0)
        np.testing.assert_allclose(dense[:, i, j], x, rtol=0, atol=1e-5 * np.abs(x).max())
