"""What the network of a run answers to its test images: the confusions, the worst mistakes."""

import dataclasses

import numpy as np

from experiments.answering import answers_of, view_of
from experiments.config import Experiment
from experiments.ensemble import class_names_of
from experiments.members import Member
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.shown import ImageViews
from jaxcnn.data.sources import Example, Source, open_source
from jaxcnn.evaluation.answers import Answers
from jaxcnn.evaluation.protocols import Look
from jaxcnn.evaluation.scores import confusion
from jaxcnn.inspection.report import Answered, Mistake
from jaxcnn.training.devices import Layout


class Evenly:
    """Some images of a source, evenly spread over it.

    Args:
      source: all of them.
      count: how many; no more than there are.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.name, self.class_names, self.channels = (
            source.name,
            source.class_names,
            source.channels,
        )
        self._source, self._count = source, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        """The example at ``index`` of these."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._source[index * len(self._source) // self._count]


def answered(
    member: Member,
    config: Experiment,
    layout: Layout,
    *,
    images: int | None,
    mistakes: int,
) -> Answered:
    """Asks the network of a run about the images that the run was tested or else evaluated on.

    Each is seen as the run saw it, by its central crop. Those that cannot be read are left out.

    Args:
      member: the network.
      config: of the run.
      layout: the devices.
      images: at most so many, evenly spread; None for all.
      mistakes: at most so many are kept.

    Raises:
      UserError: the images are not to be had, or are not of the network's classes.
    """
    split = config.data.test_split or config.data.eval_split
    data = dataclasses.replace(
        config.data,
        eval_split=split,
        on_error="skip",
        workers=0,
        padding=member.padding,
        channels=member.channels,
    )
    source = open_source(data.source, split, data_dir=data.data_dir)
    class_names = class_names_of([member], source)
    if images is not None and images < len(source):
        source = Evenly(source, images)
    look = Look("center", member.scale)
    answers, skipped, _ = answers_of(
        [member],
        [look],
        source,
        data,
        layout,
        stride=1,
        batch_size=config.eval.batch_size,
    )
    right, size = int(np.sum(answers.rank == 0)), member.image_size
    share = f" ({right / len(answers):.2%})" if len(answers) else ""
    left_out = f" {skipped:,} could not be read." if skipped else ""
    return Answered(
        about=f"{member.name} after step {member.step:,}, the best state that the run has kept, "
        f"gives {right:,} of {len(answers):,} images of {source.name} {split} their class{share}, "
        f"each seen by its central crop of {size} × {size}.{left_out}",
        class_names=class_names,
        matrix=confusion(answers, len(class_names)),
        mistakes=tuple(_mistakes(answers, mistakes, source, data, member, look, class_names)),
        step=member.step or 0,
    )


def _mistakes(
    answers: Answers,
    most: int,
    source: Source,
    data: DataConfig,
    member: Member,
    look: Look,
    class_names: tuple[str, ...],
) -> list[Mistake]:
    """The wrong answers of the highest probability, which are shown as the network saw them."""
    wrong = np.flatnonzero(answers.classes[:, 0] != answers.label)
    order = np.argsort(-answers.probabilities[wrong, 0], kind="stable")[:most]
    views = ImageViews(source, config=data, shown=(view_of(look, member.image_size),))
    return [
        Mistake(
            image=views[int(answers.index[row])]["view0"][0],
            name=answers.names[row].decode(errors="replace"),
            label=class_names[answers.label[row]],
            answer=class_names[answers.classes[row, 0]],
            probability=float(answers.probabilities[row, 0]),
        )
        for row in wrong[order]
    ]
