"""The networks of an evaluation: that they fit one another, the images and the protocol."""

from collections.abc import Sequence
from typing import Any

from experiments.config import Experiment
from experiments.evaluation_config import EvaluateConfig
from experiments.members import Member, of_run, of_weights
from jaxcnn.data.sources import Source
from jaxcnn.errors import UserError
from jaxcnn.evaluation.published import published
from jaxcnn.pretrained.class_names import same_classes


def members_of(config: EvaluateConfig, runs: Sequence[Experiment]) -> list[Member]:
    """The networks, which take the same images.

    Raises:
      UserError: one is not to be had, or takes others.
    """
    names = config.model * len(config.weights) if len(config.model) == 1 else config.model
    members = [
        of_weights(name, path, config.image_size)
        for name, path in zip(names, config.weights, strict=True)
    ]
    members += [of_run(path, run) for path, run in zip(config.run, runs, strict=True)]
    first = members[0]
    for member in members:
        for what in ("image_size", "channels", "padding", "num_classes"):
            ours, theirs = getattr(first, what), getattr(member, what)
            if ours != theirs:
                raise UserError(
                    f"{first.title} has {what}={ours} and {member.title} has {theirs}; an ensemble "
                    "is of networks that take the same images and know the same classes."
                )
        member.check()
    return members


def class_names_of(members: Sequence[Member], source: Source) -> tuple[str, ...]:
    """The name of every logit: those of the images, which may be fewer.

    Raises:
      UserError: the networks know other classes than the images are of.
    """
    names, logits = tuple(source.class_names), members[0].num_classes
    for member in members:
        known = member.class_names or names
        if not same_classes(known, names) or logits < len(names):
            raise UserError(
                f"{member.title} knows {len(known) if member.class_names else logits} classes and "
                f"'{source.name}' has {len(names)}, which are not the same; give the images that "
                "it was trained for by --source."
            )
    return (*names, *(f"class {number}" for number in range(len(names), logits)))


def figures_of(
    protocol: str, scales: Sequence[int], members: Sequence[Member]
) -> list[dict[str, Any]]:
    """The figures for these networks by this protocol, JSON-able."""
    names = [member.registered for member in members]
    trained = {member.trained for member in members} - {"unknown"}
    if None in names or len(trained) > 1:
        return []
    figures = published([n for n in names if n], protocol, scales, *trained)
    return [figure._asdict() for figure in figures]
