# PYTHON_ARGCOMPLETE_OK
"""VGG on MNIST (60,000 training and 10,000 test images of 28x28, grey, ten classes).

    python -m experiments.prepare mnist
    python -m experiments.vgg_mnist --config=vgg11_bn
    python -m experiments.vgg_mnist --config=digits     # the same code path on embedded data

Neither the paper nor the sources train VGG on MNIST; the recipe is ours: images at 32x32, so that
five poolings leave one position, VGG A with BatchNorm at a quarter of the width, one linear
layer, shifts by up to 2 pixels, batch 128, Adam at 1e-3 with a cosine schedule, 10 epochs.

Result: not measured. Hardware, time: not measured.
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
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

MNIST = Experiment(
    model=ModelConfig(name="vgg11_bn", width=16, hidden=(), pooled_size=1, initialization="he"),
    data=DataConfig(source="mnist", image_size=32, normalization="mean_std"),
    augment=AugmentConfig(pad=2, flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=10, batch_size=128, log_every=50),
)

DIGITS = replace(
    MNIST,
    data=replace(MNIST.data, source="digits"),
    train=TrainConfig(epochs=12, batch_size=64, log_every=10),
)

RECIPE = Recipe(
    name="vgg_mnist",
    description=__doc__,
    presets={"vgg11_bn": MNIST, "digits": DIGITS},
    summaries={
        "vgg11_bn": "A with BatchNorm, width 16, Adam, 10 epochs",
        "digits": "the same on the embedded digits, 12 epochs",
    },
    default="vgg11_bn",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
