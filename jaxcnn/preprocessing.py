"""From the pixels of images to what a network takes, on the device: normalisation."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError
from jaxcnn.mean_image import MeanImage

Normalization = Literal["unit", "half", "lenet", "mean", "mean_std", "mean_image_std", "pixel_mean"]
ChannelOrder = Literal["RGB", "BGR"]

_LARGEST_SIDE = 2**13  # of what a file of weights may ask every image to become

# Of those that need no statistics: mean and standard deviation of each channel, in grey levels.
FIXED: Mapping[str, tuple[float, float]] = {
    "unit": (0.0, 255.0),
    "half": (127.5, 127.5),
    "lenet": (20.0, 200.0),  # 1.275 between black and white
}


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

    @property
    def mean_image(self) -> MeanImage | None:
        """The mean of each pixel; None where it was not computed."""


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
      padding: zeros put on every side of the image before that, in pixels.
      mean_image: of each pixel, its channels in the network's order; subtracted in place of `mean`
        from images of its own size. From others, as a network that is swept over larger images is
        given, `mean` is. None: always.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: ChannelOrder = "RGB"
    shorter_side: int | None = None
    crop: int | None = None
    padding: int = 0
    mean_image: MeanImage | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} standard deviations")
        if self.channel_order not in get_args(ChannelOrder):
            raise ValueError(f"channel_order is 'RGB' or 'BGR', not {self.channel_order!r}")
        if self.channel_order == "BGR" and len(self.mean) != 3:
            raise ValueError(f"{len(self.mean)} channels cannot be in the order BGR")
        for name, least in (("shorter_side", 1), ("crop", 1), ("padding", 0)):
            pixels = getattr(self, name)
            if pixels is None and name != "padding":
                continue
            if type(pixels) is not int or not least <= pixels <= _LARGEST_SIDE:
                raise ValueError(f"{name} is {least} to {_LARGEST_SIDE} pixels, not {pixels!r}")
        if self.mean_image is not None and self.mean_image.shape[-1] != len(self.mean):
            raise ValueError(
                f"a mean image of {self.mean_image.shape[-1]} channels and {len(self.mean)} means"
            )

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
            standard deviation 0.5 of values in [0, 1]; ``'lenet'``, to [-0.1, 1.175] (LeCun et al.
            1998, section III.A: the background, black here, is -0.1); ``'mean'``, the mean
            subtracted and nothing divided, as in VGG; ``'mean_std'``, divided by the standard
            deviation of all pixels too; ``'mean_image_std'``, divided by the mean of the images'
            own standard deviations, which is smaller (torchvision's published one is of this kind);
            ``'pixel_mean'``, the mean image subtracted and nothing divided, as in AlexNet, ZFNet
            and ResNet.
          channels: 1 or 3.
          statistics: of the training images in so many channels; the first three need none.

        Raises:
          UserError: a channel would be divided by zero.
          ValueError: statistics are missing, or of another number of channels.
        """
        if normalization in FIXED:
            fixed_mean, fixed_std = FIXED[normalization]
            return cls((fixed_mean,) * channels, (fixed_std,) * channels)
        if statistics is None:
            raise ValueError(f"the normalisation '{normalization}' needs statistics")
        if len(statistics.mean) != channels:
            raise ValueError(
                f"statistics of {len(statistics.mean)} channels do not fit images of {channels}"
            )
        std = {
            "mean": (1.0,) * channels,
            "pixel_mean": (1.0,) * channels,
            "mean_std": statistics.std,
            "mean_image_std": statistics.image_std,
        }[normalization]
        if min(std) == 0:
            raise UserError(
                "a channel of the training images is the same in every pixel, so that nothing can "
                f"be divided by its standard deviation; set data.normalization to 'mean', not "
                f"'{normalization}'."
            )
        if normalization != "pixel_mean":
            return cls(statistics.mean, std)
        if statistics.mean_image is None:
            raise ValueError("the normalisation 'pixel_mean' needs statistics with a mean image")
        return cls(statistics.mean, std, mean_image=statistics.mean_image)

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
        if self.mean_image is not None and images.shape[-3:] == self.mean_image.shape:
            mean = jnp.asarray(self.mean_image.array)
        return (images.astype(jnp.float32) - mean) / std

    def to_json(self) -> dict[str, Any]:
        """The fields, tuples as lists; `from_json` gives back the same to the bit."""
        fields = dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        # What most lack is left out: a file says what it said before there was such a thing.
        del fields["mean_image"]
        if not self.padding:
            del fields["padding"]
        if self.mean_image is not None:
            fields["mean_image"] = self.mean_image.to_json()
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """What `to_json` gave, now or when there were but mean and std, through a file or not."""
        given = {**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])}
        if fields.get("mean_image") is not None:
            given["mean_image"] = MeanImage.from_json(fields["mean_image"])
        return cls(**given)
