# PYTHON_ARGCOMPLETE_OK
"""What each part of AlexNet is worth: one of them changed at a time (Krizhevsky et al. 2012).

    python -m experiments.ablations --config=digits
    python -m experiments.ablations --config=cifar10      # ReLU against tanh, as in figure 1

ReLU against tanh (section 3.1: a four-layer network reaches 25 % training error on CIFAR-10 six
times faster); local response normalisation before the pools, after them, and none (3.3: top-1 and
top-5 errors lower by 1.4 and 1.2 % on ImageNet, with 13 against 11 % on CIFAR-10); overlapping
against plain pools (3.4: 0.4 and 0.3 %); dropout (4.2: without, "substantial overfitting"); two
towers against one. The `baseline` is the paper's: ReLU, normalised before overlapping pools,
dropout, two towers.

`digits` trains the baseline and each change in a small form on the embedded digits enlarged to
64x64: width 24, hidden layers of 128 units on one position, He's initialisation, dropout 0.5, Adam
at 1e-3 with a cosine schedule, batch 64, no augmentation, 8 epochs, three seeds. All of that is
ours, and so is that tanh has the same rate as ReLU where the paper chose each network's own.

`cifar10` trains ReLU and tanh without any regularisation, as figure 1 does: images enlarged to
64x64, the paper's widths, momentum 0.9 at a constant 0.01, batch 128, 40 epochs; its own four-layer
network is not described. The training error over epochs is what to look at. Not measured.
"""

import sys
from dataclasses import replace

from experiments.config import Experiment
from experiments.network import ModelConfig
from experiments.study import Study, StudyConfig, main
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.training.checkpoints import CheckpointConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

DIGITS = Experiment(
    model=ModelConfig(
        name="alexnet", width=24, hidden=(128, 128), pooled_size=1, dropout=0.5, initialization="he"
    ),
    data=DataConfig(source="digits", eval_split="test", image_size=64, normalization="mean_std"),
    augment=AugmentConfig(crop="center", flip=False),
    optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
    schedule=ScheduleConfig(kind="cosine", warmup_epochs=0.5),
    train=TrainConfig(epochs=8, batch_size=64, log_every=10),
    checkpoint=CheckpointConfig(keep=1),
)

CIFAR10 = replace(
    DIGITS,
    model=ModelConfig(name="alexnet", pooled_size=1, dropout=0.0, initialization="he"),
    data=replace(DIGITS.data, source="cifar10", normalization="pixel_mean"),
    optimizer=OptimizerConfig(name="paper_momentum", learning_rate=0.01, momentum=0.9),
    schedule=ScheduleConfig(),
    train=TrainConfig(epochs=40, batch_size=128, log_every=100),
)

STUDY = Study(
    name="ablations",
    description=__doc__,
    presets={
        "digits": StudyConfig.of(DIGITS),
        "cifar10": StudyConfig.of(CIFAR10, seeds=(0,), only=("baseline", "tanh")),
    },
    summaries={
        "digits": "all changes on the embedded digits, three seeds, minutes on 2 cores",
        "cifar10": "ReLU and tanh on CIFAR-10 without regularisation, one seed",
    },
    default="digits",
    variations={
        "baseline": {},
        "tanh": {"model.activation": "tanh"},
        "lrn_after_pool": {"model.norm_place": "after_pool"},
        "no_lrn": {"model.lrn": False},
        "plain_pools": {"model.pool_window": 2},
        "no_dropout": {"model.dropout": 0.0},
        "one_tower": {"model.groups": 1},
    },
    panels={
        "non-linearity": {"ReLU": "baseline", "tanh": "tanh"},
        "local response normalisation": {
            "before pools": "baseline",
            "after pools": "lrn_after_pool",
            "none": "no_lrn",
        },
        "pools": {"overlapping": "baseline", "plain": "plain_pools"},
        "dropout": {"with": "baseline", "without": "no_dropout"},
        "towers": {"two": "baseline", "one": "one_tower"},
    },
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
