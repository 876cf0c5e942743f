# PYTHON_ARGCOMPLETE_OK
"""ZFNet on ImageNet by the recipe of Zeiler and Fergus (arXiv 1311.2901, sections 3 and 5.1).

    python -m experiments.zfnet_imagenet --config=digits        # embedded data, minutes on 2 cores
    python -m experiments.prepare imagenet2012 --manual_dir=FOLDER/OF/THE/TARS
    python -m experiments.zfnet_imagenet --config=paper         # figure 3
    python -m experiments.zfnet_imagenet --config=large         # 512, 1024, 512 maps in layers 3-5

Paper: batch 128, momentum 0.9, rate 1e-2 annealed by hand when the validation error plateaus, 70
epochs, dropout 0.5 in layers 6 and 7, weights of 1e-2 and biases of 0 at the start. After each
update a filter of a convolution whose root mean square is above 0.1 is scaled back to it. Images
are rescaled to a shorter side of 256 and cut to the central square, of which one of ten 224 crops
is shown (corners and centre, mirrored or not); the mean image subtracted.

Published, top-1/top-5 validation error in % (Table 2): figure 3's network 38.4/16.5, five of them
36.7/15.3; with 512, 1024, 512 maps 37.5/16.0; six of both 36.0/14.7. How those were cropped the
paper does not say. Validation during training is the centre crop of 256.
Hardware and time of the paper: one GTX 580, twelve days. Ours: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).

What the paper leaves open and we chose: how the rate is annealed (divided by ten, three times, when
the error stood still for 5 epochs), the form of the momentum (Krizhevsky's, the rate inside the
velocity), that nothing decays, and that weights 'of 1e-2' are normal with that deviation. Ours,
too, is one mean image for 224 x 224, that of the centre crops.

`modern` is figure 3's network as it would be trained today (`experiments/modern.py`), from He's
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
    model=ModelConfig(name="zfnet"),
    data=DataConfig(
        source="imagenet2012",
        eval_split="validation",
        image_size=224,
        normalization="pixel_mean",
        workers=8,
    ),
    augment=AugmentConfig(
        scale_min=256, scale_max=256, crop="corners", central_square=True, flip=True
    ),
    optimizer=OptimizerConfig(
        name="paper_momentum", learning_rate=1e-2, momentum=0.9, filter_rms=0.1
    ),
    schedule=ScheduleConfig(kind="plateau", factor=0.1, patience=5, max_reductions=3),
    train=TrainConfig(epochs=70, batch_size=128, log_every=100),
    eval=EvalConfig(batch_size=128),
    checkpoint=CheckpointConfig(every_steps=1000),
)

# The modern form decays as AlexNet's does.
MODERN = modern(
    replace(
        PAPER,
        model=replace(PAPER.model, initialization="he"),
        optimizer=replace(PAPER.optimizer, weight_decay=5e-4),
    )
)

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
    name="zfnet_imagenet",
    description=__doc__,
    presets={
        "paper": PAPER,
        "large": replace(PAPER, model=replace(PAPER.model, name="zfnet_large")),
        "modern": MODERN,
        "digits": DIGITS,
    },
    summaries={
        "paper": "figure 3's network, the paper's recipe, 70 epochs",
        "large": "512, 1024, 512 maps in layers 3 to 5, the same recipe",
        "modern": "figure 3's network as it would be trained today, 70 epochs",
        "digits": "figure 3's network on the embedded digits, narrow, 20 epochs",
    },
    default="paper",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
