# PYTHON_ARGCOMPLETE_OK
"""AlexNet on ImageNet by the recipe of Krizhevsky, Sutskever and Hinton (NIPS 2012, sections 3-5).

    python -m experiments.alexnet_imagenet --config=digits      # embedded data, minutes on 2 cores
    python -m experiments.prepare imagenet2012 --manual_dir=FOLDER/OF/THE/TARS
    python -m experiments.alexnet_imagenet                      # `paper`

Paper: batch 128, momentum 0.9 and weight decay 5e-4 inside the velocity (v = 0.9 v - 5e-4 rate w -
rate g; w = w + v), rate 0.01 divided by ten when the validation error stops improving, three times,
about 90 epochs. Weights begin normal with deviation 0.01, the biases of conv2, conv4, conv5 and the
hidden layers at 1. Images are rescaled to a shorter side of 256 and cut to the central square; one
random 224 crop of it, flip, RGB shift along the principal components; the mean image subtracted.

Published, top-1/top-5 validation error in % on ILSVRC-2012, mean softmax of ten crops (Table 2):
one network 40.7/18.2, five 38.1/16.4; pre-trained on the whole of ImageNet, one 39.0/16.6, seven
36.7/15.4. Validation during training is another protocol: the centre crop of 256.
Hardware and time of the paper: two GTX 580, five to six days. Ours: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).

What the paper leaves open and we chose: how long the error must stand still before the rate is
divided (5 epochs, `schedule.patience`). Ours, too, is one mean image for 224 x 224, that of the
centre crops, where the paper's is of 256 x 256 and cropped with the image.

`modern` is the network as it would be trained today (`experiments/modern.py`), from He's
initialisation: normal weights of 0.01 are made for images in grey levels.
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
    model=ModelConfig(name="alexnet"),
    data=DataConfig(
        source="imagenet2012",
        eval_split="validation",
        image_size=224,
        normalization="pixel_mean",
        workers=8,
    ),
    augment=AugmentConfig(
        scale_min=256, scale_max=256, central_square=True, flip=True, color_shift=0.1
    ),
    optimizer=OptimizerConfig(
        name="paper_momentum", learning_rate=1e-2, momentum=0.9, weight_decay=5e-4, decay="all"
    ),
    schedule=ScheduleConfig(kind="plateau", factor=0.1, patience=5, max_reductions=3),
    train=TrainConfig(epochs=90, batch_size=128, log_every=100),
    eval=EvalConfig(batch_size=128),
    checkpoint=CheckpointConfig(every_steps=1000),
)

# The modern form decays as all others do.
MODERN = modern(replace(PAPER, model=replace(PAPER.model, initialization="he")))

# A quarter as wide, on 64x64 digits, of which the pools leave one position. It differs from the
# paper in width (24), head (128 units), initialisation (He, and so mean and standard deviation in
# place of the mean image), dropout (0.2), batch (64), epochs, patience (3) and augmentation (crops
# of 72 pixels, no flip): 1,438 images are few.
DIGITS = replace(
    PAPER,
    model=replace(
        PAPER.model,
        width=24,
        hidden=(128, 128),
        pooled_size=1,
        dropout=0.2,
        initialization="he",
    ),
    data=DataConfig(source="digits", eval_split="test", image_size=64, normalization="mean_std"),
    augment=replace(PAPER.augment, scale_min=72, scale_max=72, flip=False),
    schedule=replace(PAPER.schedule, patience=3),
    train=TrainConfig(epochs=20, batch_size=64, log_every=10),
    checkpoint=CheckpointConfig(),
)

RECIPE = Recipe(
    name="alexnet_imagenet",
    description=__doc__,
    presets={"paper": PAPER, "modern": MODERN, "digits": DIGITS},
    summaries={
        "paper": "the paper's network and recipe, 90 epochs",
        "modern": "the network as it would be trained today, 90 epochs",
        "digits": "the paper's recipe on the embedded digits, narrow, 20 epochs",
    },
    default="paper",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
