"""``keras.applications`` on the JAX backend, by ``train_on_batch`` and ``predict_on_batch``."""

import os

import jax
import numpy as np

from experiments.contestants import Contestant, Task
from experiments.contestants.ours import peak_memory
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.randomness import Purpose, host_generator

os.environ["KERAS_BACKEND"] = "jax"

import keras

# Our name of the network of the same layers.
_NAMES = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
}


def prepare(task: Task) -> Contestant:
    """Makes the network and its step.

    Raises:
      UserError: Keras has no network of the same layers for such images.
    """
    if task.model not in _NAMES:
        raise unknown_name("Keras network of the layers of", task.model, _NAMES)
    if task.model.startswith("vgg") and task.image_size != 224:
        raise UserError(
            f"for images of {task.image_size} pixels Keras' VGG has other fully connected layers; "
            "compare with it at --image_size=224, or leave keras out."
        )
    if task.dtype == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = getattr(keras.applications, _NAMES[task.model])(
        weights=None,
        classes=task.num_classes,
        input_shape=(task.image_size, task.image_size, 3),
        classifier_activation=None,
    )
    random = host_generator(0, Purpose.BENCHMARK, 0)
    shape = (task.batch_size, task.image_size, task.image_size, 3)
    images = random.normal(size=shape).astype(np.float32)
    labels = random.integers(0, task.num_classes, task.batch_size)
    network.compile(
        optimizer=keras.optimizers.SGD(1e-6, momentum=0.9, weight_decay=5e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    # Both give NumPy's arrays, and so return when they are done.
    def advance() -> None:
        if task.mode == "train":
            network.train_on_batch(images, labels)
        else:
            network.predict_on_batch(images)

    return Contestant(
        advance=advance,
        wait=lambda: None,
        versions={"keras": keras.__version__, "jax": jax.__version__},
        peak_memory=lambda: peak_memory(jax.devices()[0]),
    )
