"""The mean, the spread and the principal components of the channels of a training set.

All in grey levels of 0 to 255. Every image counts as it is seen in evaluation (rescaled to Q, its
centre cropped), so that the numbers are those of what the network takes, each image has the same
number of pixels, and nothing is random.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.pipeline import EvalBatches, iterate
from jaxcnn.data.sources import Source
from jaxcnn.errors import UserError
from jaxcnn.mean_image import MeanImage
from jaxcnn.progress import Progress


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of the channels of a set of images, 1 (grey) or 3 (R, G, B).

    Attributes:
      images: how many were counted.
      mean: of all pixels, and so of the images' means; grey levels.
      image_std: the mean over the images of each one's own standard deviation; grey levels.
      covariance: of all pixels, dividing by their number; grey levels squared.
      mean_image: the mean of each pixel; None where it was not asked for.
    """

    images: int
    mean: tuple[float, ...]
    image_std: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    mean_image: MeanImage | None = None

    @property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each channel over all pixels (pooled); grey levels."""
        return tuple(np.sqrt(np.diag(self.covariance)).tolist())

    @property
    def eigenvalues(self) -> tuple[float, ...]:
        """Of the covariance, the largest first; grey levels squared."""
        return tuple(self._principal_components()[0].tolist())

    @property
    def eigenvectors(self) -> tuple[tuple[float, ...], ...]:
        """Of the covariance: the columns, of length 1, in the order of the eigenvalues.

        The largest entry of each is positive, whatever the linear algebra library would say.
        """
        return tuple(map(tuple, self._principal_components()[1].tolist()))

    def _principal_components(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
        largest = np.take_along_axis(vectors, abs(vectors).argmax(axis=0, keepdims=True), axis=0)
        return values, vectors * np.sign(largest)

    def to_json(self) -> dict[str, Any]:
        """The fields, as plain numbers and lists; `from_json` gives back the same to the bit."""
        fields = dataclasses.asdict(self)
        del fields["mean_image"]
        if self.mean_image is not None:
            fields["mean_image"] = self.mean_image.to_json()
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Statistics":
        """What `to_json` gave, whether or not it has been through a JSON file."""
        mean_image = fields.get("mean_image")
        return cls(
            images=fields["images"],
            mean=tuple(fields["mean"]),
            image_std=tuple(fields["image_std"]),
            covariance=tuple(map(tuple, fields["covariance"])),
            mean_image=None if mean_image is None else MeanImage.from_json(mean_image),
        )


def _imagenet() -> Statistics:
    # As published, for values in [0, 1]: one row to a channel, one column to a component.
    eigenvectors = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    eigenvalues = np.array([0.2175, 0.0188, 0.0045])
    covariance = 255**2 * (eigenvectors * eigenvalues) @ eigenvectors.T
    return Statistics(
        images=1_281_167,
        mean=(123.68, 116.779, 103.939),
        image_std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        covariance=tuple(map(tuple, covariance.tolist())),
    )


IMAGENET_STATISTICS = _imagenet()
"""The published numbers of ILSVRC-2012's training set, which nobody need compute again.

The mean is VGG's. The standard deviations are torchvision's (0.229, 0.224, 0.225), which its
documentation computes as the mean over images of their own: `image_std`, not `std`. The covariance
is put together from the eigenvalues and eigenvectors of fb.resnet.torch, the source of everybody's
colour shift. Those are eigenvalues, that is variances, of values in [0, 1]: they give pooled
standard deviations of 0.28 a channel, and taken for standard deviations themselves would give
0.13, less than the images' own of 0.23, which cannot be.
"""


def compute_statistics(
    source: Source,
    *,
    config: DataConfig,
    augment: AugmentConfig,
    mean_image: bool = False,
    progress: bool = True,
) -> Statistics:
    """Reads every image of a source once.

    The sums are exact integers, so that the result depends neither on the order nor on the number
    of threads and worker processes.

    Args:
      source: the training images.
      config: their size and channels, and how they are read; images that ``on_error='skip'`` skips
        do not count.
      augment: the scale at which images are evaluated.
      mean_image: whether to compute the mean of each pixel too.
      progress: whether to show a bar.

    Raises:
      UserError: no image could be read, or one could not and is not to be skipped.
    """
    batches = EvalBatches(source, config=config, augment=augment, batch_size=32)
    channels = config.channels or source.channels
    size = config.image_size**2
    images, image_std = 0, np.zeros(channels)
    # Python's integers, of which none is too large.
    total, products = np.zeros(channels, object), np.zeros((channels, channels), object)
    pixel_sums = np.zeros((config.image_size, config.image_size, channels), np.int64)
    with (
        iterate(batches, 0, len(batches), config) as stream,
        Progress(total=len(source), description="statistics", enabled=progress) as progress_bar,
    ):
        for batch in stream:
            counted = batch["image"][batch["weight"] > 0]
            pixels = counted.reshape(len(counted), size, channels)
            # In float64 the sums of products of bytes are exact, up to 10^11 pixels an image.
            wide = pixels.astype(np.float64)
            sums, squares = wide.sum(axis=1), wide.transpose(0, 2, 1) @ wide
            variances = (size * np.einsum("ncc->nc", squares) - sums**2) / size**2
            image_std += np.sqrt(variances.clip(min=0)).sum(axis=0)
            images += len(counted)
            if mean_image:
                pixel_sums += counted.sum(axis=0, dtype=np.int64)
            total += sums.sum(axis=0).astype(np.int64).astype(object)
            products += squares.sum(axis=0).astype(np.int64).astype(object)
            progress_bar.advance(int((batch["index"] >= 0).sum()))
    if not images:
        raise UserError(
            f"no image of '{source.name}' could be read, so that there is no mean to subtract; "
            "check data.source, or run with --config.data.on_error=stop to see what is wrong."
        )
    count = images * size
    covariance = (count * products - np.outer(total, total)) / count**2
    return Statistics(
        images=images,
        mean=tuple((total / count).tolist()),
        image_std=tuple((image_std / images).tolist()),
        covariance=tuple(map(tuple, covariance.tolist())),
        mean_image=MeanImage.of(pixel_sums / images) if mean_image else None,
    )
