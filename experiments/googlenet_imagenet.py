# PYTHON_ARGCOMPLETE_OK
"""GoogLeNet on ImageNet by Szegedy et al. (arXiv 1409.4842, section 6), and a source's recipe.

    python -m experiments.googlenet_imagenet --config=digits    # embedded data, minutes on 2 cores
    python -m experiments.prepare imagenet2012 --manual_dir=FOLDER/OF/THE/TARS
    python -m experiments.googlenet_imagenet --config=paper
    python -m experiments.googlenet_imagenet --config=source --config.data.source=PATH/TO/FOLDERS

Paper: asynchronous stochastic gradient descent with momentum 0.9, the rate lowered by 4 % every 8
epochs, Polyak's average of the parameters as the final network, the losses of the two auxiliary
classifiers counted 0.3 each, dropout 0.4 (0.7 in those). Crops are of 8 to 100 % of the image's
area and aspect 3/4 to 4/3, resized bilinearly, by area, nearest or cubic with equal chance, with
Howard's photometric distortions; the mean RGB subtracted.

Published, top-5 error in % on the validation of ILSVRC-2014 (Table 3): one network 10.07 with one
crop, 9.15 with ten, 7.89 with 144; seven networks 8.09, 7.62 and 6.67. Validation during training
is the centre crop of 256. Hardware of the paper: CPUs (it estimates a week on a few GPUs).
Ours: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).

What the paper leaves open, taken from Caffe's re-implementation (models/bvlc_googlenet: 31.3/11.1
with the centre crop, by another schedule): batch 32, rate 0.01, weight decay 2e-4 on the kernels,
250 epochs, the initialisation. Ours: PyTorch's form of the momentum, the average over the last 50
epochs, factors from 0.6 to 1.4 for brightness, contrast and saturation, that training images are
flipped. Updates are synchronous.

`source` is the source's `googlenet_plain_stem` on pictures of your own, which lie in
PATH/TO/FOLDERS/train/CLASS and PATH/TO/FOLDERS/validation/CLASS: cross entropy, Adam at 2e-4, batch
256, 10 epochs, two classes (any number will do), no auxiliary classifiers. It gives neither data
set nor result; ours: values in [0, 1], the centre of each image at 224, no augmentation, He's
initialisation. With fewer than 256 pictures give a smaller `--config.train.batch_size`.

`modern` is the paper's network as it would be trained today (`experiments/modern.py`), from He's
initialisation: the paper's is made for images in grey levels.
"""

import sys
from dataclasses import replace

from experiments.config import EvalConfig, Experiment
from experiments.modern import modern
from experiments.network import ModelConfig
from experiments.run import Recipe, main
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.training.checkpoints import CheckpointConfig
from jaxcnn.training.loop import TrainConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig

PAPER = Experiment(
    model=ModelConfig(name="googlenet"),
    data=DataConfig(
        source="imagenet2012",
        eval_split="validation",
        image_size=224,
        normalization="mean",
        workers=8,
    ),
    augment=AugmentConfig(
        eval_scale=256, crop="area", interpolation="random", photometric=0.4, flip=True
    ),
    optimizer=OptimizerConfig(
        name="momentum", learning_rate=1e-2, momentum=0.9, weight_decay=2e-4, polyak=200
    ),
    schedule=ScheduleConfig(kind="step", factor=0.96, step_epochs=8),
    train=TrainConfig(epochs=250, batch_size=32, auxiliary_weight=0.3, log_every=100),
    eval=EvalConfig(batch_size=128),
    checkpoint=CheckpointConfig(every_steps=1000),
)

SOURCE = Experiment(
    model=ModelConfig(name="googlenet_plain_stem"),
    data=DataConfig(
        source="./pictures", eval_split="validation", image_size=224, normalization="unit"
    ),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=2e-4),
    train=TrainConfig(epochs=10, batch_size=256, log_every=10),
)

# A quarter as wide, on 32x32 digits, of which one position is left; crops of at least 70 % of the
# area, no flip. It differs from the paper also in initialisation (He, and so mean and standard
# deviation in place of the mean), epochs and the first that is averaged.
DIGITS = replace(
    PAPER,
    model=replace(PAPER.model, width=16, initialization="he"),
    data=DataConfig(source="digits", eval_split="test", image_size=32, normalization="mean_std"),
    augment=replace(PAPER.augment, eval_scale=None, area_min=0.7, flip=False),
    optimizer=replace(PAPER.optimizer, polyak=16),
    train=replace(PAPER.train, epochs=24, log_every=20),
    checkpoint=CheckpointConfig(),
)

# Narrow as well; for a rate (its peak, with a cosine schedule), batch and epochs that suit it, with
# shifts of up to 2 pixels.
SOURCE_DIGITS = replace(
    SOURCE,
    model=replace(SOURCE.model, width=16),
    data=replace(SOURCE.data, source="digits", eval_split="test", image_size=32),
    augment=replace(SOURCE.augment, crop="random", pad=2),
    optimizer=replace(SOURCE.optimizer, learning_rate=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=20, batch_size=64, log_every=10),
)

RECIPE = Recipe(
    name="googlenet_imagenet",
    description=__doc__,
    presets={
        "paper": PAPER,
        "source": SOURCE,
        "modern": modern(replace(PAPER, model=replace(PAPER.model, initialization="he"))),
        "digits": DIGITS,
        "source_digits": SOURCE_DIGITS,
    },
    summaries={
        "paper": "the paper's recipe; batch, rate, decay and 250 epochs as in Caffe",
        "source": "the source's plain stem on pictures of your own, Adam at 2e-4, 10 epochs",
        "modern": "the paper's network as it would be trained today, 250 epochs",
        "digits": "the paper's recipe on the embedded digits, narrow, 24 epochs",
        "source_digits": "the plain stem on the embedded digits, narrow, 20 epochs",
    },
    default="paper",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
