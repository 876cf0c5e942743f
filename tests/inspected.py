"""Small networks whose insides are known, for the tests of what is seen in them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.inspection import grids
from jaxcnn.models.layers import Activation, FullyConnected, LocalResponseNorm, MaxPool


class Small(nn.Module):
    """Convolution, ReLU, max pool, convolution, ReLU, and a mean of each map for each class."""

    num_classes: int = 3
    bias: bool = True
    activation: object = nn.relu
    lrn: bool = False

    @nn.compact
    def __call__(self, images, *, train=False, dense=False):
        x = nn.Conv(4, (3, 3), padding=1, use_bias=self.bias, name="conv1")(images)
        x = Activation(self.activation, name="relu1")(x)
        x = MaxPool(name="pool1")(x)
        if self.lrn:
            x = LocalResponseNorm(k=1.0, alpha=0.5, name="norm1")(x)
        x = nn.Conv(5, (3, 3), padding=1, use_bias=self.bias, name="conv2")(x)
        x = Activation(self.activation, name="relu2")(x)
        if not dense:
            x = x.mean(axis=(1, 2))
        return FullyConnected(self.num_classes, name="logits")(x)


class Linear(nn.Module):
    """A linear layer over all pixels."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(images.shape[0], -1)
        return FullyConnected(self.num_classes, name="logits")(x)


class Branch(nn.Module):
    """A convolution and a ReLU, of three maps."""

    size: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(3, (self.size, self.size), name="conv")(x)
        return Activation(nn.relu, name="relu")(x)


class Branched(nn.Module):
    """Two branches side by side, a shortcut around what follows them, and three classes."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        x = jnp.concatenate(
            [Branch(1, name="left")(images), Branch(3, name="right")(images)], axis=-1
        )
        x = Activation(jnp.tanh, name="both")(x)
        x = x + nn.Conv(6, (3, 3), name="around")(x)
        return FullyConnected(self.num_classes, name="logits")(x.mean(axis=(1, 2)))


class Brightest(nn.Module):
    """Two classes: how much red and how much blue there is in the image's brightest part.

    A convolution that tells red from blue, in maps of which class 0 is the first and class 1 the
    second, whatever a third one holds.
    """

    num_classes: int = 2

    @nn.compact
    def __call__(self, images, *, train=False, dense=False):
        x = nn.Conv(3, (3, 3), padding="VALID", name="conv1")(images)
        x = Activation(nn.relu, name="relu1")(x)
        if not dense:
            x = x.max(axis=(1, 2))
        return FullyConnected(self.num_classes, name="logits")(x)

    @staticmethod
    def variables():
        kernel = np.zeros((3, 3, 3, 3), np.float32)
        kernel[..., 0, 0] = kernel[..., 2, 1] = kernel[..., 1, 2] = 1 / 9
        head = np.array([[8, 0], [0, 8], [0, 0]], np.float32)
        return {
            "params": {
                "conv1": {"kernel": jnp.array(kernel), "bias": jnp.zeros(3)},
                "logits": {"kernel": jnp.array(head), "bias": jnp.zeros(2)},
            }
        }


RED, BLUE = (1, 0, 0), (0, 0, 1)


def scene(size=24, **patches):
    """Grey noise with 5 x 5 patches of a colour: ``red=(top, left)``."""
    image = np.random.default_rng(0).uniform(0, 0.2, (size, size, 3)).astype(np.float32)
    for name, (top, left) in patches.items():
        image[top : top + 5, left : left + 5] = {"red": RED, "blue": BLUE}[name]
    return image


def drawn(model, shape=(1, 8, 8, 2), seed=0):
    """Variables in which nothing is zero."""
    variables = model.init(jax.random.key(seed), jnp.zeros(shape))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return tree.unflatten(
        [jax.random.normal(k, x.shape) * 0.5 for k, x in zip(keys, leaves, strict=True)]
    )


def pictures_of(monkeypatch):
    """The figures that are saved from now on."""
    saved, save = [], grids.save_figure
    monkeypatch.setattr(grids, "save_figure", lambda f, path: (saved.append(f), save(f, path)))
    return saved


def texts(figure):
    """All that is written in a figure, line by line."""
    return [text.get_text() for text in figure.axes[0].texts]
