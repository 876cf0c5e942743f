# PYTHON_ARGCOMPLETE_OK
"""VGG-16 on STL-10 (5,000 training and 8,000 test images of 96x96, ten classes): two recipes.

    python -m experiments.prepare stl10
    python -m experiments.vgg_stl10 --config=average     # LeakyReLU and global average pooling
    python -m experiments.vgg_stl10 --config=bn          # BatchNorm and three FC layers
    python -m experiments.vgg_stl10 --config=digits      # the first on the embedded digits
    python -m experiments.vgg_stl10 --config=bn_digits   # the second

`average` is the source's: images at 224 in [-1, 1], batch 64, Adam at 1e-5, 100 epochs, neither
augmentation nor dropout; the running loss is recorded every 50 batches and a loss above 1000 is
reported with the norms of the parameters.

The source names no initialisation; ours is He's, in both recipes.

`bn` is the source's network (convolution, BatchNorm, ReLU; dropout 0.5), batch 4, and its
normalisation: the mean of the images' means and the mean of the images' standard deviations,
computed over the training set (`--config.data.normalization=mean_std` takes the standard
deviation over all pixels instead). The source names neither data set, optimizer, rate, step,
factor nor epochs; ours: STL-10, momentum SGD at 1e-3, divided by ten every 10 epochs, 30 epochs.
The state with the lowest validation loss is kept in the folder `best`.

Result: not measured on STL-10 (the sources report none). Hardware, time: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).
"""

import sys
from dataclasses import replace

from experiments.config import EvalConfig, Experiment
from experiments.network import ModelConfig
from experiments.run import Recipe, main
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

AVERAGE = Experiment(
    model=ModelConfig(name="vgg16_average", initialization="he"),
    data=DataConfig(source="stl10", image_size=224, normalization="half"),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-5),
    train=TrainConfig(epochs=100, batch_size=64, log_every=50),
    eval=EvalConfig(batch_size=64),
)

BATCH_NORM = Experiment(
    model=ModelConfig(name="vgg16_bn", initialization="he"),
    data=DataConfig(source="stl10", image_size=224, normalization="mean_image_std"),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="momentum", learning_rate=1e-3),
    schedule=ScheduleConfig(kind="step", step_epochs=10, factor=0.1, monitor="loss"),
    train=TrainConfig(epochs=30, batch_size=4, log_every=50),
    eval=EvalConfig(batch_size=64),
)

# Narrow (width 16), at 32x32, few epochs, for rates that suit them; the first with a cosine
# schedule and shifts of up to 2 pixels. Batch 4 would take the two cores long: 32.
DIGITS = replace(
    AVERAGE,
    model=replace(AVERAGE.model, width=16),
    data=replace(AVERAGE.data, source="digits", image_size=32),
    augment=AugmentConfig(pad=2, flip=False),
    optimizer=replace(AVERAGE.optimizer, learning_rate=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=12, batch_size=64, log_every=10),
)
BATCH_NORM_DIGITS = replace(
    BATCH_NORM,
    model=replace(BATCH_NORM.model, width=16, hidden=(128, 128), pooled_size=1, dropout=0.2),
    data=replace(BATCH_NORM.data, source="digits", image_size=32),
    optimizer=replace(BATCH_NORM.optimizer, learning_rate=1e-2),
    schedule=replace(BATCH_NORM.schedule, step_epochs=5),
    train=TrainConfig(epochs=12, batch_size=32, log_every=10),
)

RECIPE = Recipe(
    name="vgg_stl10",
    description=__doc__,
    presets={
        "average": AVERAGE,
        "bn": BATCH_NORM,
        "digits": DIGITS,
        "bn_digits": BATCH_NORM_DIGITS,
    },
    summaries={
        "average": "the source's: LeakyReLU, global average pooling, Adam at 1e-5",
        "bn": "the source's with BatchNorm, batch 4; optimizer and epochs are ours",
        "digits": "`average` on the embedded digits, width 16",
        "bn_digits": "`bn` on the embedded digits, width 16",
    },
    default="average",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
