"""A small VGG trained on scikit-learn's digits to a given accuracy."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.network import on_devices
from jaxcnn.models import create_model
from jaxcnn.models.vgg import VGG
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.randomness import Purpose, host_generator
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.metrics import ClassSums, means
from jaxcnn.training.optimizers import OptimizerConfig, make_optimizer
from jaxcnn.training.steps import Batch, create_state, make_eval_step, make_train_step

_WANTED = 0.98
_BATCH = 64
_NORMALISE = Preprocessing(mean=(128.0,) * 3, std=(64.0,) * 3)

Images = tuple[np.ndarray, np.ndarray]


@functools.cache
def held_out(size: int) -> tuple[Images, Images]:
    """The digits to train on and to test with: 1,438 and 359, every fifth of a class for testing.

    The same split as `jaxcnn.data.digits` makes, which needs more packages.

    Args:
      size: pixels; the 8x8 images are enlarged by repeating pixels, so a multiple of 8.

    Returns:
      Images, uint8 of shape (n, size, size, 3), and labels, int32 of shape (n,), of each part.
    """
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    images = np.round(levels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = images.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    images = np.repeat(images[..., None], 3, axis=3)
    rank = np.empty(len(labels), np.int64)  # of an image among those of its class
    for label in range(10):
        rank[labels == label] = np.arange(np.sum(labels == label))
    test, labels = rank % 5 == 2, labels.astype(np.int32)
    return (images[~test], labels[~test]), (images[test], labels[test])


def _network(smallest: bool) -> tuple[nn.Module, int, float]:
    """The network, the pixels of its images, and the peak of its learning rate."""
    if not smallest:
        model = create_model("vgg_small", num_classes=10, pooled_size=1, initialization="he")
        return model, 32, 1e-3
    model = VGG(
        groups=((64, (3,)), (128, (3,))),
        num_classes=10,
        width=32,
        hidden=(64,),
        pooled_size=2,
        dropout=0.0,
        initialization="he",
    )
    return model, 8, 5e-3


def _batch(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
    """The examples of an index; places beyond the end are filled up, and do not count."""
    there = index < len(labels)
    chosen = np.where(there, index, 0)
    return {
        "image": images[chosen],
        "label": labels[chosen],
        "index": chosen.astype(np.int32),
        "weight": there.astype(np.float32),
    }


def _shifted(images: np.ndarray, step: int) -> np.ndarray:
    """Each image moved by up to a sixteenth of its side both ways, its border filled with zeros."""
    random = host_generator(0, Purpose.CROP, step)
    size = images.shape[1]
    most = size // 16
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    places = random.integers(0, 2 * most + 1, (len(images), 2))
    return np.stack(
        [x[i : i + size, j : j + size] for x, (i, j) in zip(padded, places, strict=True)]
    )


def digits(epochs: int, *, smallest: bool) -> dict[str, Any]:
    """Whether the network gets 98 % of the test digits right after training on one device.

    Args:
      epochs: over the 1,438 images, in batches of 64; Adam and a cosine.
      smallest: a smaller network on images of 8 pixels, for a CPU.
    """
    plain, size, peak = _network(smallest)
    train, test = held_out(size)
    layout = make_layout(ParallelConfig(devices=1))
    model = on_devices(plain, layout)
    in_epoch = len(train[1]) // _BATCH
    steps = epochs * in_epoch
    optimizer = make_optimizer(OptimizerConfig(name="adam"))
    rate = optax.warmup_cosine_decay_schedule(0.0, peak, in_epoch // 2, steps)

    def augment(batch: Batch, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        del step  # images are moved on the host
        return _NORMALISE(batch["image"]), batch["label"]

    step = layout.compile(
        make_train_step(
            model,
            optimizer,
            lambda done: jnp.asarray(rate(done)),
            augment,
            seed=0,
            steps_per_epoch=in_epoch,
            log_every=in_epoch,
        ),
        donate=(0,),
    )
    shapes = jnp.zeros((1, size, size, 3))
    state = layout.distribute(jax.jit(lambda: create_state(model, optimizer, shapes, seed=0))())
    losses = []
    for number in range(steps):
        epoch, place = divmod(number, in_epoch)
        order = host_generator(0, Purpose.SHUFFLE, epoch).permutation(len(train[1]))
        batch = _batch(*train, order[place * _BATCH : (place + 1) * _BATCH])
        batch["image"] = _shifted(batch["image"], number)
        state, metrics = step(state, layout.place(batch))
        losses.append(metrics["loss"])
    evaluate = layout.compile(make_eval_step(model, _NORMALISE))
    sums = layout.replicate(ClassSums.zeros(10))
    for first in range(0, len(test[1]), _BATCH):
        shown = layout.place(_batch(*test, np.arange(first, first + _BATCH)))
        sums = evaluate(state.variables(), sums, shown)
    accuracy = means(layout.fetch(sums).total)["accuracy"]
    return {
        "passed": bool(accuracy >= _WANTED),
        "accuracy": accuracy,
        "wanted": _WANTED,
        "test_images": len(test[1]),
        "epochs": epochs,
        "steps": steps,
        "first_loss": float(layout.fetch(losses[0])),
        "last_loss": float(layout.fetch(losses[-1])),
        "finite": bool(math.isfinite(float(layout.fetch(losses[-1])))),
        "network": "a VGG of two groups at 8 pixels" if smallest else "vgg_small at 32 pixels",
    }
