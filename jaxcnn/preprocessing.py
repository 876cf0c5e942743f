"""From a uint8 batch to what a network takes, on the device: colour shift, then normalisation."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError

Normalization = Literal["unit", "half", "lenet", "mean", "mean_std", "mean_image_std", "pixel_mean"]
ChannelOrder = Literal["RGB", "BGR"]


class ChannelStatistics(Protocol):
    """What normalisation has to know of a training set, for each channel, in grey levels."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of all pixels."""

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of all pixels."""

    @property
    def image_std(self) -> tuple[float, ...]:
        """The mean of the images' own standard deviations."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a network was trained to be given: part of it, and in its checkpoints and weights.

    The call takes images with their channels in the order R, G, B, whatever the network wants,
    and does all that is to be done to their values: ``(images - mean) / std``, in the network's
    order. How they are resized and cropped is a fact for whoever reads the files.

    Attributes:
      mean: of each channel, in the network's order, in grey levels of 0 to 255.
      std: what each channel is divided by, in the network's order, in grey levels.
      channel_order: of the network's input, where it has three channels.
      shorter_side: what the shorter side of an image is resized to, in pixels; None: not known.
      crop: side of the square that is then cropped from the centre, in pixels; None: not known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: ChannelOrder = "RGB"
    shorter_side: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} standard deviations")
        if self.channel_order not in get_args(ChannelOrder):
            raise ValueError(f"channel_order is 'RGB' or 'BGR', not {self.channel_order!r}")
        if self.channel_order == "BGR" and len(self.mean) != 3:
            raise ValueError(f"{len(self.mean)} channels cannot be in the order BGR")

    @classmethod
    def named(
        cls,
        normalization: Normalization,
        channels: int,
        statistics: ChannelStatistics | None = None,
    ) -> "Preprocessing":
        """One of the usual normalisations.

        Args:
          normalization: ``'unit'``, to [0, 1]; ``'half'``, to [-1, 1], that is mean 0.5 and
            standard deviation 0.5 of values in [0, 1]; ``'mean'``, the mean subtracted and nothing
            divided, as in VGG; ``'mean_std'``, divided by the standard deviation of all pixels too;
            ``'mean_image_std'``, divided by the mean of the images' own standard deviations, which
            is smaller (torchvision's published one is of this kind).
          channels: 1 or 3.
          statistics: of the training images in so many channels; the first two need none.

        Raises:
          UserError: a channel would be divided by zero.
          ValueError: statistics are missing, or of another number of channels.
        """
        if normalization == "unit":
            return cls((0.0,) * channels, (255.0,) * channels)
        if normalization == "half":
            return cls((127.5,) * channels, (127.5,) * channels)
        if statistics is None:
            raise ValueError(f"the normalisation '{normalization}' needs statistics")
        if len(statistics.mean) != channels:
            raise ValueError(
                f"statistics of {len(statistics.mean)} channels do not fit images of {channels}"
            )
        std = {
            "mean": (1.0,) * channels,
            "mean_std": statistics.std,
            "mean_image_std": statistics.image_std,
        }[normalization]
        if min(std) == 0:
            raise UserError(
                "a channel of the training images is the same in every pixel, so that nothing can "
                f"be divided by its standard deviation; set data.normalization to 'mean', not "
                f"'{normalization}'."
            )
        return cls(statistics.mean, std)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Puts the channels in order and normalises them.

        Args:
          images: uint8, or float32 in the same range of 0 to 255 (as `ColorShift` gives them), of
            shape ``(..., channels)``, in the order R, G, B.

        Returns:
          float32, of the same shape, in the network's order.

        Raises:
          TypeError: any other type, since values in [0, 1] would pass for a black image.
          ValueError: another number of channels.
        """
        if images.dtype not in (jnp.uint8, jnp.float32):
            raise TypeError(f"images are uint8, or float32 in grey levels; not {images.dtype}")
        if images.shape[-1] != len(self.mean):
            raise ValueError(
                f"images of {images.shape[-1]} channels do not fit a mean of {len(self.mean)}"
            )
        if self.channel_order == "BGR":
            images = images[..., ::-1]
        mean, std = (jnp.array(values, jnp.float32) for values in (self.mean, self.std))
        return (images.astype(jnp.float32) - mean) / std

    def to_json(self) -> dict[str, Any]:
        """The fields, tuples as lists; `from_json` gives back the same to the bit."""
        fields = dataclasses.asdict(self)
        return {**fields, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """What `to_json` gave, now or when there were but mean and std, through a file or not."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


@dataclasses.dataclass(frozen=True)
class ColorShift:
    """A random shift of each image's colour along the principal components of all RGB values.

    AlexNet, section 4.1: to every pixel is added ``[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T``, with p_i
    and l_i the eigenvectors and the eigenvalues of the covariance of RGB values and
    ``a_i ~ N(0, 0.1)``, drawn once for each image and use. Also VGG's.

    The formula multiplies by variances where a shift is a standard deviation, and so depends on
    the unit. It is taken in values of [0, 1], as in fb.resnet.torch and all that follow it: 0.1 of
    ImageNet's first eigenvalue, 0.2175, is a shift of 5.5 grey levels along that component. (In
    grey levels throughout it would be 1,414. Krizhevsky's own cuda-convnet2 multiplies by the
    square roots instead, which is 11.9 in any unit.)

    Attributes:
      std: of the a_i.
      eigenvalues: l_i, of the covariance of grey levels of 0 to 255: in grey levels squared.
      eigenvectors: p_i, the columns: one row to each channel.
    """

    std: float
    eigenvalues: tuple[float, ...]
    eigenvectors: tuple[tuple[float, ...], ...]

    def __call__(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Shifts each image by its own random colour.

        Args:
          images: of 0 to 255, shape ``(batch, height, width, channels)``.
          keys: typed jax keys, one for each image, shape ``(batch,)``.

        Returns:
          float32, of the shape of `images`; not clipped, so that they can leave 0 to 255.
        """
        components = len(self.eigenvalues)
        alphas = self.std * jax.vmap(lambda key: jax.random.normal(key, (components,)))(keys)
        # With values in [0, 1] the eigenvalues are 255^2 times smaller, the shift 255 times.
        scaled = alphas * jnp.array(self.eigenvalues, jnp.float32) / 255
        # A sum, not a matrix product, which accelerators would round to fewer bits.
        shifts = (scaled[:, None, :] * jnp.array(self.eigenvectors, jnp.float32)).sum(axis=-1)
        return images.astype(jnp.float32) + shifts[:, None, None, :]


def preprocess(
    images: jax.Array,
    *,
    preprocessing: Preprocessing,
    color_shift: ColorShift | None = None,
    keys: jax.Array | None = None,
) -> jax.Array:
    """What a network takes, from a uint8 batch.

    Args:
      images: uint8, shape ``(batch, height, width, channels)``.
      preprocessing: the normalisation.
      color_shift: in training, where the recipe has it; needs `keys`.
      keys: typed jax keys, one for each image, shape ``(batch,)``.

    Returns:
      float32, shape ``(batch, height, width, channels)``.
    """
    if images.dtype != jnp.uint8:
        raise TypeError(f"images are uint8, not {images.dtype}")
    if color_shift is not None:
        if keys is None:
            raise ValueError("a colour shift needs a key for each image")
        images = color_shift(images, keys)
    return preprocessing(images)
