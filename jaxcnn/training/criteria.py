"""Which loss training minimises and evaluation measures, by its name in a configuration."""

import jax

from jaxcnn.losses import cross_entropy, maximum_a_posteriori, smoothed
from jaxcnn.training.gradients import Loss

LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "map": maximum_a_posteriori}


def training_loss(name: str, label_smoothing: float) -> Loss:
    """The loss of an example whose target is smoothed first (Szegedy et al. 2015, section 7).

    Args:
      name: of ``LOSSES``; without smoothing it is that one itself.
      label_smoothing: the share of a target that is spread evenly over the classes.
    """
    loss = LOSSES[name]
    if not label_smoothing:
        return loss

    def of_smoothed(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return loss(logits, smoothed(targets, logits.shape[-1], label_smoothing))

    return of_smoothed
