"""Mixup and CutMix: training images that are made of two, with labels in proportion."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.randomness import example_keys

_STEPS = 4096


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixes each image of a batch with that before it in the global batch, whose order is random.

    The first is mixed with the last. Ratios and rectangles are each image's own. An image that does
    not count is mixed with none, so that it gets into no other's pixels or label.

    Mixup (Zhang et al. 2018, section 2): ``r * image + (1 - r) * other``, and as much of the
    labels, with r from Beta(mixup, mixup). CutMix (Yun et al. 2019, section 3.1): a rectangle of
    sqrt(1 - r) of the height and of the width, r from Beta(cutmix, cutmix), its centre anywhere in
    the image, is the other's; the label's share is that of the pixels that are left, since the
    rectangle ends where the image does.

    Attributes:
      mixup: of the Beta distribution; 0 for no mixup.
      cutmix: likewise. Where both are above 0, each step does one of them, with equal chance.
      num_classes: of the labels.
      axis_name: the name of the ``pmap`` axis that the batch is split over, if it is; under
        ``jit`` the batch seen here is the global one.
    """

    mixup: float
    cutmix: float
    num_classes: int
    axis_name: str | None = None

    def __call__(
        self,
        images: jax.Array,
        labels: jax.Array,
        *,
        weights: jax.Array,
        indices: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """The mixed images and their labels.

        Args:
          images: float32, as the network takes them, shape ``(batch, height, width, channels)``.
          labels: whole numbers, shape ``(batch,)``.
          weights: 0 for what does not count, shape ``(batch,)``.
          indices: the examples' numbers, shape ``(batch,)``, which decide on their ratios.
          key: typed jax key of the step.

        Returns:
          float32 images of the same shape, and float32 distributions over the classes, shape
          ``(batch, num_classes)``.
        """
        choice_key, pair_key = jax.random.split(key)
        keys = example_keys(pair_key, indices)
        cut = jnp.array(self.cutmix > 0)
        if self.mixup and self.cutmix:
            cut = jax.random.bernoulli(choice_key)
        # What of each pixel stays: a ratio, or 1 outside of the rectangle and 0 inside.
        kept = jax.vmap(lambda k: self._kept(k, cut, *images.shape[1:3]))(keys)
        counted = (weights > 0) & (self._before(weights) > 0)
        kept = jnp.where(counted[:, None, None], kept, 1.0)

        mixed = _blend(images, self._before(images), kept[..., None])
        classes = jax.nn.one_hot(labels, self.num_classes)
        return mixed, _blend(classes, self._before(classes), kept.mean(axis=(1, 2))[:, None])

    def _kept(self, key: jax.Array, cut: jax.Array, height: int, width: int) -> jax.Array:
        """What of each pixel of one image stays, shape ``(height, width)``."""
        ratio_key, *centre_keys = jax.random.split(key, 3)
        tables = jnp.stack([_beta_quantiles(self.mixup), _beta_quantiles(self.cutmix)])
        ratio = _drawn(ratio_key, tables[cut.astype(jnp.int32)])
        inside = []
        for side, centre_key in zip((height, width), centre_keys, strict=True):
            # A whole number to each side of the centre, as in the authors' code.
            half = jnp.floor(side * jnp.sqrt(1 - ratio)).astype(jnp.int32) // 2
            centre = jax.random.randint(centre_key, (), 0, side)
            pixels = jnp.arange(side)
            inside.append((pixels >= centre - half) & (pixels < centre + half))
        outside = ~(inside[0][:, None] & inside[1][None, :])
        return jnp.where(cut, outside.astype(jnp.float32), ratio)

    def _before(self, x: jax.Array) -> jax.Array:
        """The rows ``(batch, ...)`` of the global batch, each in the place of the one after it."""
        if self.axis_name is None:
            return jnp.roll(x, 1, axis=0)
        count = lax.axis_size(self.axis_name)
        to_next = [(device, (device + 1) % count) for device in range(count)]
        return jnp.concatenate([lax.ppermute(x[-1:], self.axis_name, to_next), x[:-1]])


def _blend(ours: jax.Array, theirs: jax.Array, kept: jax.Array) -> jax.Array:
    # Not theirs + kept * (ours - theirs), which is not exactly `ours` where all of it is kept.
    return kept * ours + (1 - kept) * theirs


@functools.cache
def _beta_quantiles(alpha: float) -> np.ndarray:
    """Of the distribution Beta(alpha, alpha), at equal steps of probability from 0 to 1; float32.

    Drawing from these takes one uniform number. `jax.random.beta` is exact in the limit of float32,
    but its loops of rejection take many seconds to compile.
    """
    from scipy.special import betaincinv

    steps = np.linspace(0, 1, _STEPS + 1)
    return betaincinv(alpha, alpha, steps).astype(np.float32) if alpha else np.zeros_like(steps)


def _drawn(key: jax.Array, quantiles: jax.Array) -> jax.Array:
    """A number of the distribution whose quantiles these are, straight lines between them."""
    place = _STEPS * jax.random.uniform(key)
    below = place.astype(jnp.int32)
    return quantiles[below] + (place - below) * (quantiles[below + 1] - quantiles[below])
