# PYTHON_ARGCOMPLETE_OK
"""Plain against residual networks over depth: the degradation that residual learning cures.

    python -m experiments.degradation --config=digits
    python -m experiments.degradation --config=cifar10

He, Zhang, Ren and Sun (arXiv 1512.03385, section 4.2, figure 6): deeper plain networks have the
higher error, in training too, so that it is not overfitting; with shortcuts, the deeper ones have
the lower. Their test errors on CIFAR-10: ResNet-20 8.75, 32 7.51, 44 7.17, 56 6.97, 110 6.43 %;
those of the plain networks are in a figure alone.

`digits` trains 20, 32 and 56 layers of either kind on the embedded digits at 16x16, by the recipe
of `experiments.resnet_cifar10 --config=digits`, half as wide as the paper's, for 264 steps of batch
64 (12 epochs) with the rate divided by ten after 132 and 198, three seeds; these are ours.

`cifar10` is the paper's recipe for 20, 32, 44, 56 and 110 layers, one seed: not measured.
"""

import sys
from dataclasses import replace

from experiments.resnet_cifar10 import DEPTHS, DIGITS, PAPER, WARM_UP
from experiments.study import Study, StudyConfig, main

KINDS = {"plain": "plain", "residual": "resnet"}

# The warm-up is for 110 layers with shortcuts, as the paper says it.
_SLOW_START = {
    "schedule.warmup_epochs": WARM_UP.schedule.warmup_epochs,
    "schedule.warmup_factor": WARM_UP.schedule.warmup_factor,
}

STUDY = Study(
    name="degradation",
    description=__doc__,
    presets={
        "digits": StudyConfig.of(
            DIGITS,
            schedule=replace(DIGITS.schedule, milestones=(132, 198)),
            train=replace(DIGITS.train, steps=264),
            checkpoint=replace(DIGITS.checkpoint, keep=1),
            only=("*20", "*32", "*56"),
        ),
        "cifar10": StudyConfig.of(PAPER, seeds=(0,)),
    },
    summaries={
        "digits": "20, 32 and 56 layers on the embedded digits, three seeds, minutes on 2 cores",
        "cifar10": "20 to 110 layers by the paper's recipe, one seed",
    },
    default="digits",
    variations={
        f"{network}{depth}": {"model.name": f"{network}{depth}"}
        | (_SLOW_START if (network, depth) == ("resnet", 110) else {})
        for network in KINDS.values()
        for depth in DEPTHS
    },
    panels={
        kind: {f"{depth} layers": f"{network}{depth}" for depth in DEPTHS}
        for kind, network in KINDS.items()
    },
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
