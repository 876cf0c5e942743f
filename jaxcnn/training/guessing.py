"""A training that is stuck where it began: after the first epochs its loss is that of guessing.

This is how a deep network without BatchNorm fails when nothing of the images comes through its
random parameters (Simonyan and Zisserman 2014, section 3.1, started theirs from a shallower one):
it learns how frequent the classes are, by its last biases, and nothing else.
"""

import math

import numpy as np

from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

_EPOCHS, _STEPS = 2, 200  # after the warm-up: the first epoch's end with both is the moment to ask
_NEAR = 0.01  # a share of the loss of guessing


def loss_of_guessing(counts: np.ndarray) -> float:
    """The cross entropy in nats of answering every image by the frequencies of the classes.

    It is ln(C) of C classes equally frequent. Mixed images (mixup, CutMix) leave it as it is, as
    their targets have the same mean; smoothed targets raise it a little where the classes are not
    equally frequent.

    Args:
      counts: examples of each class, shape ``(classes,)``.
    """
    shares = counts[counts > 0] / np.sum(counts)
    return float(-np.sum(shares * np.log(shares)))


def asked_after(steps_per_epoch: int, warmup_epochs: float) -> int:
    """The epoch, from 1, at whose end a loss like that of guessing tells of a failure."""
    return math.ceil(warmup_epochs + max(_EPOCHS, _STEPS / steps_per_epoch))


def stuck(
    loss: float,
    counts: np.ndarray,
    epoch: float,
    *,
    steps_per_epoch: int,
    config: TrainConfig,
    schedule: ScheduleConfig,
) -> str | None:
    """A sentence on a training that has learnt nothing so far, at one epoch's end; else None.

    Args:
      loss: the mean training loss of the epoch.
      counts: the evaluation's examples of each class, for how frequent the classes are.
      epoch: the epochs done.
      steps_per_epoch: steps in one.
      config: what is minimised; it is of cross entropy that one knows what guessing costs.
      schedule: how long the rate rises at first.
    """
    if config.loss != "cross_entropy":
        return None
    guessing = loss_of_guessing(counts)
    asked = epoch == asked_after(steps_per_epoch, schedule.warmup_epochs)
    if not (asked and abs(loss - guessing) <= _NEAR * guessing):
        return None
    return (
        f"epoch {epoch}: the training loss of {loss:.3f} is still that of guessing among "
        f"{np.count_nonzero(counts)} classes ({guessing:.3f}), as with a deep network without "
        "BatchNorm through which nothing of the images comes; try model.initialization=he or vgg, "
        "the network's _bn form, model.initialize_from a trained shallower one, or a lower "
        "optimizer.learning_rate."
    )
