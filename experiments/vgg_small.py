# PYTHON_ARGCOMPLETE_OK
"""A small VGG that tells two kinds of your own pictures apart: 1.6 million parameters.

    python -m experiments.vgg_small --config.data.source=PATH/TO/FOLDERS
    python -m experiments.vgg_small --config=digits     # the same code path on embedded data

The pictures lie in PATH/TO/FOLDERS/train/CLASS and PATH/TO/FOLDERS/validation/CLASS; any number of
classes will do. The network is VGG's column D at a quarter of its width (16, 32, 64, 128, 128
channels) with hidden layers of 100 and 20 units and no dropout.

The source's: cross entropy, Adam at 2e-4, batch 256, 10 epochs, images at 224. What it leaves open
and we chose: values in [0, 1], the centre of each image (rescaled to a shorter side of 224), no
augmentation, He's initialisation. It gives no data set and no result.

An epoch is as many whole batches as there are: with fewer than 256 training pictures give a
smaller `--config.train.batch_size`.

Result, hardware and time of `pictures`: not measured.
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

PICTURES = Experiment(
    model=ModelConfig(name="vgg_small", initialization="he"),
    data=DataConfig(
        source="./pictures", eval_split="validation", image_size=224, normalization="unit"
    ),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=2e-4),
    train=TrainConfig(epochs=10, batch_size=256, log_every=10),
)

# At 32x32, where one position is left for the hidden layers. It differs from the source in the rate
# (its peak, with a cosine schedule), the batch, the epochs and the shifts by up to 2 pixels.
DIGITS = replace(
    PICTURES,
    model=replace(PICTURES.model, pooled_size=1),
    data=replace(PICTURES.data, source="digits", eval_split="test", image_size=32),
    augment=replace(PICTURES.augment, crop="random", pad=2),
    optimizer=replace(PICTURES.optimizer, learning_rate=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=12, batch_size=64, log_every=10),
)

RECIPE = Recipe(
    name="vgg_small",
    description=__doc__,
    presets={"pictures": PICTURES, "digits": DIGITS},
    summaries={
        "pictures": "the source's, on two kinds of your own pictures, 10 epochs",
        "digits": "the same network on the embedded digits, ten classes, 12 epochs",
    },
    default="pictures",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
