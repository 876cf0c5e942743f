# PYTHON_ARGCOMPLETE_OK
"""AlexNet with BatchNorm on CIFAR-10 (50,000 training and 10,000 test images of 32x32), two forms.

    python -m experiments.prepare cifar10
    python -m experiments.alexnet_cifar10 --config=source        # BatchNorm after every convolution
    python -m experiments.alexnet_cifar10 --config=pool_bn       # BatchNorm after every pool
    python -m experiments.alexnet_cifar10 --config=digits        # the first on the embedded digits
    python -m experiments.alexnet_cifar10 --config=pool_bn_digits  # the second

`source` is the source's: images enlarged bilinearly to 128 x 128, in [0, 1], no augmentation; the
training split in two, 40,000 to train on and 10,000 to validate with; batch 64, Adam at 1e-3 in
Keras' form (epsilon 1e-7), an L2 penalty of 1e-4 times the sum of the squared kernels of conv2 to
conv5, up to 30 epochs; the rate times 0.2 when the validation loss, the penalty included, has not
improved by 1e-4 for 5 epochs, an end when it has not at all for 10. The last weights, and not the
best, are evaluated on the 10,000 test images. Ours: which 10,000 validate (the last of the training
split, as TFDS has shuffled it).

`pool_bn` is the source's network at 224; for it there is no recipe, and that of `source` is ours.

The sources give no result. Result, hardware and time of both on CIFAR-10: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).
"""

import sys
from dataclasses import replace

from experiments.config import EvalConfig, Experiment
from experiments.network import ModelConfig
from experiments.run import Recipe, main
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.training.loop import TrainConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig

SOURCE = Experiment(
    model=ModelConfig(name="alexnet_bn"),
    data=DataConfig(
        source="cifar10",
        train_split="train[:80%]",
        eval_split="train[80%:]",
        test_split="test",
        image_size=128,
        normalization="unit",
    ),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(
        name="adam",
        learning_rate=1e-3,
        epsilon=1e-7,
        epsilon_hat=True,
        weight_decay=2e-4,  # Keras' penalty has no half
        decay_layers="conv[2-5]",
    ),
    schedule=ScheduleConfig(
        kind="plateau",
        factor=0.2,
        patience=5,
        min_delta=1e-4,
        monitor="objective",
        early_stopping=10,
    ),
    train=TrainConfig(epochs=30, batch_size=64, log_every=50),
    eval=EvalConfig(batch_size=256),
)

POOL_BATCH_NORM = replace(
    SOURCE,
    model=replace(SOURCE.model, name="alexnet_pool_bn"),
    data=replace(SOURCE.data, image_size=224),
)

# A quarter as wide, on digits of 67 and 64 pixels, of which the pools leave one position, with 128
# hidden units. They differ from the source also in the batch (16): Keras' averages of BatchNorm's
# statistics take some hundred steps to come near, and 1,150 images are few.
DIGITS = replace(
    SOURCE,
    model=replace(SOURCE.model, width=24, hidden=(128, 128)),
    data=replace(SOURCE.data, source="digits", image_size=67),
    train=TrainConfig(epochs=30, batch_size=16, log_every=20),
)
POOL_BATCH_NORM_DIGITS = replace(
    DIGITS,
    model=replace(DIGITS.model, name="alexnet_pool_bn"),
    data=replace(DIGITS.data, image_size=64),
)

RECIPE = Recipe(
    name="alexnet_cifar10",
    description=__doc__,
    presets={
        "source": SOURCE,
        "pool_bn": POOL_BATCH_NORM,
        "digits": DIGITS,
        "pool_bn_digits": POOL_BATCH_NORM_DIGITS,
    },
    summaries={
        "source": "the source's: BatchNorm after every convolution, Adam, up to 30 epochs",
        "pool_bn": "BatchNorm after every pool, at 224; the recipe is that of `source`",
        "digits": "`source` on the embedded digits, width 24",
        "pool_bn_digits": "`pool_bn` on the embedded digits, width 24",
    },
    default="source",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
