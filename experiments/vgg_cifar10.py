# PYTHON_ARGCOMPLETE_OK
"""VGG on CIFAR-10 (50,000 training and 10,000 test images of 32x32, ten classes).

    python -m experiments.prepare cifar10
    python -m experiments.vgg_cifar10 --config=vgg16_bn   # also vgg11_bn, vgg13_bn, vgg19_bn
    python -m experiments.vgg_cifar10 --config=digits     # the same code path on embedded data

Neither the paper nor the sources train VGG on CIFAR-10; the recipe is ours and a common one: the
convolutions as in the paper, one position left of 32x32 and so one linear layer of 512 inputs,
BatchNorm, a 4-pixel margin with random 32x32 crops and flips, batch 128, momentum 0.9 at 0.05
with a cosine schedule after 5 epochs of warm-up, L2 5e-4 on the kernels, 200 epochs.

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

CIFAR10 = Experiment(
    model=ModelConfig(name="vgg16_bn", hidden=(), pooled_size=1, initialization="he"),
    data=DataConfig(source="cifar10", image_size=32, normalization="mean_std"),
    augment=AugmentConfig(pad=4, flip=True),
    optimizer=OptimizerConfig(name="momentum", learning_rate=0.05, weight_decay=5e-4),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=5),
    train=TrainConfig(epochs=200, batch_size=128, log_every=50),
)

# Narrow, short, without flips: a mirrored digit is another digit.
DIGITS = replace(
    CIFAR10,
    model=replace(CIFAR10.model, name="vgg11_bn", width=16),
    data=replace(CIFAR10.data, source="digits"),
    augment=replace(CIFAR10.augment, pad=2, flip=False),
    schedule=replace(CIFAR10.schedule, warmup_epochs=0.5),
    train=TrainConfig(epochs=12, batch_size=64, log_every=10),
)

NETWORKS = ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")

RECIPE = Recipe(
    name="vgg_cifar10",
    description=__doc__,
    presets={
        **{name: replace(CIFAR10, model=replace(CIFAR10.model, name=name)) for name in NETWORKS},
        "digits": DIGITS,
    },
    summaries={
        **{name: f"{name}, momentum, cosine schedule, 200 epochs" for name in NETWORKS},
        "digits": "vgg11_bn on the embedded digits, width 16, 12 epochs",
    },
    default="vgg16_bn",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
