"""Distances between images as a network sees them, differentiable to the image.

    see = losses.Perception(
        functools.partial(models.features, model, variables, names=("relu2_2", "relu3_3")),
        preprocessing,
    )
    target = see(photograph)  # grey levels of 0 to 255

    def loss(image):
        return (losses.content_loss(see(image), target) + losses.range_penalty(image)).sum()

    gradient = jax.jit(jax.grad(loss))(image)

Each loss is a sum over layers, of each image of a batch: shape (n,).
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError, unknown_name

Features = Mapping[str, jax.Array]
"""The outputs of layers by name, each of shape (n, ..., channels), as `models.features` gives."""

_WHITE = 255.0
_MARGIN = 64.0  # a quarter of the range: an image on its way may leave it by so much
_DARK = 4.0  # no photograph is as dark, and no normalised image reaches further


@dataclasses.dataclass(frozen=True)
class Perception:
    """What a network sees in images of one explicit range, grey levels of 0 to 255.

    Attributes:
      extract: from normalised images to features by name.
      preprocessing: from grey levels to what the network was trained on.
    """

    extract: Callable[[jax.Array], dict[str, jax.Array]]
    preprocessing: Callable[[jax.Array], jax.Array]

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """The features of images, grey levels of shape (n, height, width, channels).

        Raises:
          UserError: as of ``check_range``.
        """
        check_range(images)
        return self.extract(self.preprocessing(images))


def check_range(images: jax.Array) -> None:
    """Refuses images that are no grey levels of 0 to 255 as far as their values tell.

    Values in [0, 1], and normalised ones, would give features without any meaning and no error.
    Within ``jit`` and ``vmap`` there are no values to see yet, and nothing is refused: check once
    outside, and keep an image that is optimised in its range by ``range_penalty``.

    Raises:
      UserError: all values are close to zero, or some are far from 0 to 255 or are no number.
    """
    values = jax.lax.stop_gradient(images)
    try:
        low, high = float(jnp.min(values)), float(jnp.max(values))
    except jax.errors.ConcretizationTypeError:
        return
    inside = low >= -_MARGIN and high <= _WHITE + _MARGIN
    dark = low >= -_DARK and high <= _DARK and not low == high == 0
    if not inside or (dark and jnp.issubdtype(images.dtype, jnp.floating)):
        raise UserError(
            f"the images have values from {low:.4g} to {high:.4g}; give grey levels of 0 to 255, "
            "neither scaled to [0, 1] nor normalised, for the preprocessing comes after this."
        )


def range_penalty(images: jax.Array) -> jax.Array:
    """How far images leave 0 to 255: the mean square of what is beyond, shape (n,).

    It is zero within the range, with no gradient, and differentiable everywhere.

    Args:
      images: grey levels, shape (n, height, width, channels).
    """
    beyond = images - jnp.clip(images, 0.0, _WHITE)
    return _mean(jnp.square(beyond))


def content_loss(
    features: Features, targets: Features, *, weights: Mapping[str, float] | None = None
) -> jax.Array:
    """The mean squared difference of features (Johnson et al. 2016, equation 2).

    That of Gatys et al. (2016, equation 1), half the sum, is height * width * channels / 2 times
    as much.

    Args:
      features: of the images.
      targets: of what they are compared with, of the same layers: of as many images, or of one.
      weights: of the layers; 1 each if None.

    Returns:
      Shape (n,).

    Raises:
      UserError: the layers of the arguments, or the sizes of their maps, are not the same.
    """
    return _sum_over_layers(
        lambda ours, theirs: _mean(jnp.square(ours - theirs)), features, targets, weights
    )


def gram_matrix(maps: jax.Array) -> jax.Array:
    """The products of channels, summed over positions: from (n, ..., c) to shape (n, c, c).

    Divided by positions times channels (Johnson et al. 2016, equation 3), so that images of
    different sizes can be compared. Gatys et al. do not divide.
    """
    rows = _wide(maps).reshape(maps.shape[0], -1, maps.shape[-1])
    products = jnp.einsum("npc,npd->ncd", rows, rows, precision=jax.lax.Precision.HIGHEST)
    return products / (rows.shape[1] * rows.shape[2])


def style_loss(
    features: Features, targets: Features, *, weights: Mapping[str, float] | None = None
) -> jax.Array:
    """The squared Frobenius distance of Gram matrices (Johnson et al. 2016, equation 4).

    It is four times that of Gatys et al. (2016, equation 4) on maps of the same size.

    Args:
      features: of the images.
      targets: of the same layers of other images, as many or one, whose size may differ.
      weights: of the layers; 1 each if None.

    Returns:
      Shape (n,).

    Raises:
      UserError: the layers of the arguments, or their channels, are not the same.
    """

    def distance(ours: jax.Array, theirs: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(gram_matrix(ours) - gram_matrix(theirs)), axis=(1, 2))

    return _sum_over_layers(distance, features, targets, weights, alike=slice(-1, None))


def feature_distance(
    features: Features, targets: Features, *, weights: Mapping[str, float] | None = None
) -> jax.Array:
    """The perceptual distance of Zhang et al. (2018, equation 1) without its learned weights.

    At every position the channels are scaled to unit length; squared differences are summed over
    channels and averaged over positions. Under each layer it is between 0 and 4.

    Args:
      features: of the images.
      targets: of the same layers of others of the same size, as many or one.
      weights: of the layers; 1 each if None.

    Returns:
      Shape (n,).

    Raises:
      UserError: the layers of the arguments, or the sizes of their maps, are not the same.
    """

    def unit(maps: jax.Array) -> jax.Array:
        # Where no channel is active the length is zero, and its gradient must be finite.
        return maps * jax.lax.rsqrt(jnp.sum(jnp.square(maps), axis=-1, keepdims=True) + 1e-10)

    def distance(ours: jax.Array, theirs: jax.Array) -> jax.Array:
        return _mean(jnp.sum(jnp.square(unit(ours) - unit(theirs)), axis=-1))

    return _sum_over_layers(distance, features, targets, weights)


def _sum_over_layers(
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    features: Features,
    targets: Features,
    weights: Mapping[str, float] | None,
    alike: slice = slice(1, None),
) -> jax.Array:
    """The weighted sum of distances of maps whose axes ``alike`` must have the same lengths."""
    for names, known in ((features, targets), (targets, features), (weights or {}, features)):
        for name in names:
            if name not in known:
                raise unknown_name("feature among those compared called", name, known)
    total = jnp.zeros(())
    for name, maps in features.items():
        ours, theirs = _wide(maps), _wide(targets[name])
        if ours.shape[alike] != theirs.shape[alike] or len(theirs) not in (1, len(ours)):
            raise UserError(
                f"the features {name} have the shape {ours.shape} and those that they are compared "
                f"with {theirs.shape}; give images of the same size, as many or one."
            )
        total += (weights or {}).get(name, 1.0) * distance(ours, theirs)
    return total


def _wide(values: jax.Array) -> jax.Array:
    """In float32 at least: squares of bfloat16 have two digits."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _mean(values: jax.Array) -> jax.Array:
    """The mean of each image's values, shape (n,)."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))
