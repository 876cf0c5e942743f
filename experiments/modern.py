"""The form in which a network of a paper would be trained today, kept apart from the paper's.

Network, rate, momentum, decay, batch and epochs stay the paper's. What is changed, and whence, with
constants that are ours where no source is named:

- cosine schedule after 5 epochs of warm-up (Loshchilov & Hutter 2017; Goyal et al. 2017);
- crops of 8 to 100 % of the area and aspect 3/4 to 4/3 (Szegedy et al. 2014), and no colour shift;
- label smoothing 0.1 (Szegedy et al. 2016);
- mixup with alpha 0.2 (Zhang et al. 2018) or cutmix with alpha 1 (Yun et al. 2019), by turns at
  random;
- an exponential moving average of the parameters, 0.9999 a step;
- computation in bfloat16, parameters in float32;
- images normalised by mean and standard deviation of each channel, evaluated at the centre crop of
  a shorter side of 256;
- nothing else that a paper adds to the optimizer (Polyak's average, limits on filters).
"""

from dataclasses import replace

from experiments.config import Experiment
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.training.optimizers import OptimizerConfig
from jaxcnn.training.schedules import ScheduleConfig


def modern(paper: Experiment) -> Experiment:
    """The modern form of a paper's recipe for ImageNet, of as many whole epochs."""
    return replace(
        paper,
        model=replace(paper.model, dtype="bfloat16"),
        data=replace(paper.data, normalization="mean_std"),
        augment=AugmentConfig(eval_scale=256, crop="area", mixup=0.2, cutmix=1.0),
        optimizer=OptimizerConfig(
            name="momentum",
            learning_rate=paper.optimizer.learning_rate,
            momentum=paper.optimizer.momentum,
            weight_decay=paper.optimizer.weight_decay,
            ema=0.9999,
        ),
        schedule=ScheduleConfig(kind="cosine", warmup_epochs=5),
        # Exact statistics would be those of the last parameters and not of the average.
        train=replace(paper.train, steps=None, label_smoothing=0.1, exact_statistics=0),
    )
