# PYTHON_ARGCOMPLETE_OK
"""Residual networks on ImageNet by the recipe of He, Zhang, Ren and Sun (arXiv 1512.03385, 3.4).

    python -m experiments.resnet_imagenet --config=digits       # embedded data, minutes on 2 cores
    python -m experiments.prepare imagenet2012 --manual_dir=FOLDER/OF/THE/TARS
    python -m experiments.resnet_imagenet --config=resnet50     # also 18, 34, 101, 152
    python -m experiments.resnet_imagenet --config=plain34      # without shortcuts; also plain18

Paper: batch 256, momentum 0.9, L2 1e-4, no dropout, He's initialisation, rate 0.1 divided by ten
when the error plateaus, 60e4 iterations (119.9 epochs). Images are rescaled to a shorter side in
[256; 480], one random 224 crop, flip, colour shift as AlexNet's, the mean image subtracted. The
bottlenecks halve the map in their first 1x1 convolution (v1). Momentum is in Caffe's form, the
rate inside the velocity, as is what the authors released; and as there, BatchNorm's statistics are
averaged exactly after training. 18 and 34 have shortcuts of option A, as in the paper's
comparison with plain networks (Table 2), `resnet34_b` and `resnet34_c` its other two (Table 3), and
the deeper ones B.

Published, top-1/top-5 validation error in %, each protocol for itself:

    ten crops (Tables 2 and 3)  plain-18 27.94, plain-34 28.54/10.02, 18 27.88, 34 A 25.03/7.76,
        34 B 24.52/7.46, 34 C 24.19/7.40, 50 22.85/6.71, 101 21.75/6.05, 152 21.43/5.71
    centre crop of 256 (the authors' README)  50 24.7/7.8, 101 23.6/7.1, 152 23.0/6.7
    dense at five scales (Table 4)  34 B 21.84/5.71, 34 C 21.53/5.60, 50 20.74/5.25,
        101 19.87/4.60, 152 19.38/4.49

Validation during training is the second: the centre crop at a shorter side of 256.
Hardware and time of the paper: not stated. Ours: not measured.
On the digits: the README's table, from three seeds (`python -m experiments.digits`).

What the paper leaves open and we chose: how long the error must stand still before the rate is
divided (5 epochs, `schedule.patience`) and how often (no limit); that neither biases nor
BatchNorm's parameters decay; the 200 batches of the exact statistics (51,200 images).

`modern` is the 50-layer network as it would be trained today (`experiments/modern.py`).
"""

import sys
from dataclasses import replace
from typing import Literal

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
    model=ModelConfig(name="resnet50"),
    data=DataConfig(
        source="imagenet2012",
        eval_split="validation",
        image_size=224,
        normalization="pixel_mean",
        workers=8,
    ),
    augment=AugmentConfig(scale_min=256, scale_max=480, eval_scale=256, flip=True, color_shift=0.1),
    optimizer=OptimizerConfig(
        name="paper_momentum", learning_rate=0.1, momentum=0.9, weight_decay=1e-4
    ),
    schedule=ScheduleConfig(kind="plateau", factor=0.1, patience=5),
    train=TrainConfig(
        epochs=120,  # of which the steps leave out the last few
        steps=600_000,
        batch_size=256,
        exact_statistics=200,
        log_every=100,
    ),
    eval=EvalConfig(batch_size=256),
    checkpoint=CheckpointConfig(every_steps=1000),
)


def _of(name: str, shortcut: Literal["A", "B", "C"] | None = None) -> Experiment:
    return replace(PAPER, model=replace(PAPER.model, name=name, shortcut=shortcut))


# 18 layers, a quarter as wide, on 32x32 digits, where the last stage sees one position. They differ
# from the paper in batch, rate (its peak, with a cosine schedule) and epochs, and in augmentation:
# shifts of up to 2 pixels, no flip, no colour.
DIGITS = replace(
    PAPER,
    model=ModelConfig(name="resnet18", shortcut="A", width=16),
    data=DataConfig(source="digits", eval_split="test", image_size=32, normalization="pixel_mean"),
    augment=AugmentConfig(pad=2, flip=False),
    optimizer=replace(PAPER.optimizer, learning_rate=0.05),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=12, batch_size=64, exact_statistics=20, log_every=10),
    checkpoint=CheckpointConfig(),
)

PRESETS = {
    "resnet18": (_of("resnet18", "A"), "18 layers, option A, the paper's recipe"),
    "resnet34": (_of("resnet34", "A"), "34 layers, option A"),
    "resnet34_b": (_of("resnet34", "B"), "34 layers, option B"),
    "resnet34_c": (_of("resnet34", "C"), "34 layers, option C"),
    "resnet50": (_of("resnet50"), "50 layers"),
    "resnet101": (_of("resnet101"), "101 layers"),
    "resnet152": (_of("resnet152"), "152 layers"),
    "plain18": (_of("plain18"), "18 layers without shortcuts"),
    "plain34": (_of("plain34"), "34 layers without shortcuts"),
    "modern": (modern(PAPER), "50 layers as they would be trained today, 120 epochs"),
    "digits": (DIGITS, "18 layers on the embedded digits, narrow, 12 epochs"),
}

RECIPE = Recipe(
    name="resnet_imagenet",
    description=__doc__,
    presets={name: preset for name, (preset, _) in PRESETS.items()},
    summaries={name: summary for name, (_, summary) in PRESETS.items()},
    default="resnet50",
)

if __name__ == "__main__":
    sys.exit(main(RECIPE))
