# PYTHON_ARGCOMPLETE_OK
"""A first convolutional network on MNIST (60,000 training and 10,000 test images of 28x28, grey).

    python -m experiments.prepare mnist
    python -m experiments.cnn_mnist
    python -m experiments.cnn_mnist --config=digits     # the same code path on embedded data

The source's: three convolutions of 5x5, two poolings, a hidden layer of 100 (123,222 parameters);
images in [0, 1], neither normalised nor padded; cross entropy, Adam at 2e-4, batch 256, 10 epochs
of 234 steps, the last images of an epoch left out. Its loss curve is in `curves.png`. All 10,000
test images are counted, where the source drops those that do not fill a batch. It names no
initialisation and gives no result; ours is Glorot's.

Result, hardware and time of `mnist`: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).
"""

import sys
from dataclasses import replace

from experiments.config import Experiment
from experiments.network import ModelConfig
from experiments.run import Recipe, main
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.train_config import TrainConfig

MNIST = Experiment(
    model=ModelConfig(name="mnist_cnn", initialization="glorot"),
    data=DataConfig(source="mnist", image_size=28, normalization="unit"),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=2e-4),
    train=TrainConfig(epochs=10, batch_size=256, log_every=50),
)

# The images of 8x8 are rescaled to 28x28. There are forty times fewer of them: it differs from the
# source in the rate, the batch and the epochs.
DIGITS = replace(
    MNIST,
    data=replace(MNIST.data, source="digits"),
    optimizer=replace(MNIST.optimizer, learning_rate=1e-3),
    train=TrainConfig(epochs=20, batch_size=64, log_every=10),
)

RECIPE = Recipe(
    name="cnn_mnist",
    description=__doc__,
    presets={"mnist": MNIST, "digits": DIGITS},
    summaries={
        "mnist": "the source's, Adam at 2e-4, 10 epochs",
        "digits": "the same on the embedded digits, Adam at 1e-3, 20 epochs",
    },
    default="mnist",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
