"""A trained network as an evaluation takes it: from a file of weights, or from a run."""

import dataclasses
import inspect
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn
from flax.traverse_util import flatten_dict

from experiments.config import Experiment
from experiments.copies import at_hand
from experiments.fields import from_dict
from experiments.network import given_fields, make_model
from experiments.workdir import CONFIG
from jaxcnn.errors import UserError
from jaxcnn.evaluation.published import Scale
from jaxcnn.files import read_object
from jaxcnn.models import create_model
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import load_pretrained
from jaxcnn.pretrained.naming import differing_fields, registered_name
from jaxcnn.training.checkpoint_reading import meta_of, read_best, variables_of

# What a network answers in evaluation is no function of these.
_OF_TRAINING = {
    "dropout",
    "initialization",
    "auxiliary",
    "axis_name",
    "conv_general_dilated",
    "dtype",
}


@dataclasses.dataclass(frozen=True)
class Member:
    """A trained network, and the images that it is used to.

    Attributes:
      title: what it is and where it comes from, in words.
      name: of the network.
      model: the network.
      variables: its parameters and batch statistics, on the host.
      preprocessing: what makes its input of uint8 images.
      class_names: the name of each logit; None where the file does not say.
      image_size: height and width of a crop, in pixels.
      padding: zeros on every side of a rescaled image, in pixels.
      scale: the shorter side that images were rescaled to where it was evaluated, in pixels.
      trained: S of its training, None where that was not by a scale.
      step: how many its training had made; None for a file, which does not say.
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
    trained: Scale | Literal["unknown"] | None
    step: int | None = None

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.preprocessing.mean)

    @property
    def num_classes(self) -> int:
        """The logits."""
        return self.model.num_classes

    @property
    def registered(self) -> str | None:
        """Under which name it is registered with the very fields that its answers depend on."""
        name = registered_name(self.model)
        differing = differing_fields(self.model, create_model(name))
        return None if set(differing) - _OF_TRAINING else name

    def positions(self, side: int) -> int:
        """Rows of the map of answers to a square image of so many pixels.

        Raises:
          UserError: the network has no fully convolutional form, or the image is too small.
        """
        if "dense" not in inspect.signature(type(self.model).__call__).parameters:
            raise UserError(
                f"{self.name} has no fully convolutional form for the protocol dense; choose one "
                "of crops, such as ten_crop."
            )
        return self._shape(side, dense=True)[1]

    def stride(self) -> int:
        """How many pixels lie between two positions of that map."""
        wide = 256  # a multiple of the strides there are, so that no rounding matters
        more = self.positions(self.image_size + wide) - self.positions(self.image_size)
        return wide // more

    def check(self) -> None:
        """Raises a UserError where the weights are not those of the network on its crops."""
        try:
            self._shape(self.image_size)
        except errors.FlaxError as error:
            raise UserError(
                f"{self.title} does not fit crops of {self.image_size} pixels "
                f"({str(error).splitlines()[0]}): its weights are of another network, or for "
                "images of another size."
            ) from error

    def _shape(self, side: int, **arguments: Any) -> tuple[int, ...]:
        images = jax.ShapeDtypeStruct((1, side, side, self.channels), jnp.float32)

        def call(variables: Any, images: jax.Array) -> Any:
            return self.model.apply(variables, images, **arguments)

        return jax.eval_shape(call, self.variables, images).shape


def of_weights(name: str, path: str, image_size: int | None) -> Member:
    """The network of a file of weights.

    Args:
      name: of the network.
      path: of the file.
      image_size: of a crop; None for what the file, or its publisher, says, or 224.

    Raises:
      UserError: the file is not one of such a network, has no head, or does not say how its images
        were normalised.
    """
    found = load_pretrained(name, path)
    if not any("logits" in key for key in flatten_dict(found.variables)):
        raise UserError(f"{path} holds no last layer, so that nothing can be evaluated; train one.")
    if found.preprocessing is None:
        raise UserError(
            f"{path} does not say how images were normalised for it; save it with a preprocessing."
        )
    size = image_size or found.preprocessing.crop or 224
    return Member(
        title=f"{name} with the weights of {path}",
        name=name,
        model=found.model,
        variables=found.variables,
        preprocessing=found.preprocessing,
        class_names=found.class_names,
        image_size=size,
        padding=0,
        scale=found.preprocessing.shorter_side or round(size * 256 / 224),
        trained="unknown",
    )


def run_config(workdir: str) -> Experiment:
    """The configuration of an earlier run.

    Raises:
      UserError: there is no run, or it is of a version with other fields.
    """
    path = f"{workdir}/{CONFIG}"
    try:
        with at_hand(workdir, checkpoints=False) as folder:
            return from_dict(Experiment, read_object(folder / CONFIG))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{workdir} is no work directory of a run ({CONFIG}: {why}); give one, such as "
            "runs/vgg_imagenet/digits."
        ) from error


def of_run(workdir: str, config: Experiment) -> Member:
    """The network of a run, as its best evaluation, else its newest checkpoint, has it.

    Raises:
      UserError: there is no whole checkpoint, or what its network began with is gone.
    """
    with at_hand(workdir) as folder:
        checkpoint, meta, variables = read_best(
            folder,
            lambda checkpoint: (checkpoint, meta_of(checkpoint), variables_of(checkpoint)),
        )
    try:
        class_names = tuple(map(str, meta["class_names"]))
        preprocessing = Preprocessing.from_json(meta["preprocessing"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the checkpoint {checkpoint} says nothing that makes sense of its classes and images "
            f"({type(error).__name__}: {error}); name another."
        ) from error
    if config.model.weights is None:
        model = make_model(config.model, num_classes=len(class_names))
    else:  # whose fields the file decides on
        model = load_pretrained(
            config.model.name,
            config.model.weights,
            num_classes=config.model.num_classes or len(class_names),
            in_channels=len(preprocessing.mean),
            **given_fields(config.model),
        ).model
    size, padding = config.data.image_size, config.data.padding
    by_scale = config.augment.crop != "area"
    return Member(
        title=f"{config.model.name} of the run {workdir} after step {checkpoint.name}",
        name=config.model.name,
        model=model,
        variables=variables,
        preprocessing=preprocessing,
        class_names=class_names,
        image_size=size,
        padding=padding,
        scale=config.augment.central_scale(size, padding),
        trained=config.augment.scales(size, padding) if by_scale else None,
        step=int(checkpoint.name),
    )
