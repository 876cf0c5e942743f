"""A trained network as an evaluation takes it: from a file of weights, or from a run."""

import dataclasses
from typing import Literal

from experiments.config import Experiment
from experiments.copies import at_hand
from experiments.fields import from_dict
from experiments.network import given_fields, make_model
from experiments.workdir import CONFIG
from jaxcnn.cli.network import classifier_of
from jaxcnn.errors import UserError
from jaxcnn.evaluation.classifier import Classifier
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
class Member(Classifier):
    """One of the networks of an evaluation.

    Attributes:
      trained: S of its training, None where that was not by a scale.
      step: how many its training had made; None for a file, which does not say.
    """

    trained: Scale | Literal["unknown"] | None
    step: int | None = None

    @property
    def registered(self) -> str | None:
        """Under which name it is registered with the very fields that its answers depend on."""
        name = registered_name(self.model)
        differing = differing_fields(self.model, create_model(name))
        return None if set(differing) - _OF_TRAINING else name


def of_weights(name: str, path: str, image_size: int | None) -> Member:
    """The network of a file of weights.

    Args:
      name: of the network.
      path: of the file.
      image_size: of a crop; None for what the file, or its publisher, says, or the usual size.

    Raises:
      UserError: the file is not one of such a network, has no head, or does not say how its images
        were normalised.
    """
    classifier = classifier_of(name, path, load_pretrained(name, path), image_size)
    return Member(**vars(classifier), trained="unknown")


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
