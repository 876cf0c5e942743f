"""A trained network as an evaluation takes it: with the images that it is used to."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from jaxcnn.errors import UserError
from jaxcnn.evaluation.protocols import Look
from jaxcnn.models.dense_form import dense_positions, dense_stride, has_dense_form
from jaxcnn.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained network, and the images that it is used to.

    Attributes:
      title: what it is and where it comes from, in words.
      name: of the network.
      model: the network.
      variables: its parameters and batch statistics.
      preprocessing: what makes its input of uint8 images.
      class_names: the name of each logit; None where the file does not say.
      image_size: height and width of a crop, in pixels.
      padding: zeros on every side of a rescaled image, in pixels.
      scale: the shorter side that images are usually rescaled to, in pixels.
    """

    title: str
    name: str
    model: nn.Module
    variables: dict[str, Any]
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    image_size: int
    padding: int
    scale: int

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.preprocessing.mean)

    @property
    def num_classes(self) -> int:
        """The logits."""
        return self.model.num_classes

    def positions(self, side: int) -> int:
        """Rows of the map of answers to a square image of so many pixels.

        Raises:
          UserError: the network has no fully convolutional form, or the image is too small.
        """
        self._check_dense()
        return dense_positions(self.model, self.variables, side, self.channels)

    def stride(self) -> int:
        """How many pixels lie between two positions of that map."""
        self._check_dense()
        return dense_stride(self.model, self.variables, self.image_size, self.channels)

    def check(self) -> None:
        """Raises a UserError where the weights are not those of the network on its crops."""
        images = jax.ShapeDtypeStruct(
            (1, self.image_size, self.image_size, self.channels), jnp.float32
        )
        try:
            jax.eval_shape(self.model.apply, self.variables, images)
        except errors.FlaxError as error:
            raise UserError(
                f"{self.title} does not fit crops of {self.image_size} pixels "
                f"({str(error).splitlines()[0]}): its weights are of another network, or for "
                "images of another size."
            ) from error

    def _check_dense(self) -> None:
        if not has_dense_form(self.model):
            raise UserError(
                f"{self.name} has no fully convolutional form for the protocol dense; choose one "
                "of crops, such as ten_crop."
            )


def stride_of(networks: Sequence[Classifier], looked: Sequence[Look]) -> int:
    """The pixels of which a whole image has a multiple; 1 where none is shown.

    Args:
      networks: which take the same images.
      looked: what each image is looked at by.

    Raises:
      UserError: a scale is too small for the network, or for its crops.
    """
    first, stride = networks[0], 1
    if any(look.method == "dense" for look in looked):
        stride = math.lcm(*(network.stride() for network in networks))
    for look in looked:
        side = look.scale + 2 * first.padding
        if look.method == "dense":
            for network in networks:
                network.positions(side // stride * stride)
        elif side < first.image_size:
            raise UserError(
                f"--scales={look.scale} is too small for crops of {first.image_size}; give "
                f"{first.image_size - 2 * first.padding} or more."
            )
    return stride
