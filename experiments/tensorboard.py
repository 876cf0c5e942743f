"""What TensorBoard shows of a finished run besides its curves.

The training adds its hyper-parameters, a batch and the filters of the first layer, the report the
confusions and the worst mistakes. Nothing of it is part of any other record.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flax import linen as nn

from experiments.config import WHERE, Experiment
from experiments.fields import fields_of
from experiments.values import shown
from jaxcnn.inspection.confusion import draw_confusion
from jaxcnn.inspection.filters import filter_pictures, filters, groups_of
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.report import Answered, Filters
from jaxcnn.inspection.report.embedding import png_of, side_by_side
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.training.events import Events
from jaxcnn.training.records import Records

SHOWN_METRICS = ("eval/loss", "eval/accuracy", "eval/top5", "epoch/loss", "epoch/accuracy")
_ENLARGED = 8  # times: TensorBoard shows pictures at their own size


def first_filters(
    model: nn.Module, variables: Mapping[str, Any], preprocessing: Preprocessing, image_size: int
) -> Filters:
    """The filters that see the image.

    Raises:
      UserError: the network has no convolution.
    """
    shape = (1, image_size, image_size, len(preprocessing.mean))
    layer, kernels = filters(model.clone(axis_name=None), variables, shape)
    pictures = filter_pictures(kernels, order=preprocessing.channel_order)
    return Filters(layer, pictures, groups_of(model))


def show_training(
    records: Records, config: Experiment, step: int, batch: Path, found: Filters
) -> None:
    """Adds the hyper-parameters, a batch and the filters.

    Args:
      records: of the run.
      config: of the run.
      step: the last one.
      batch: the picture of the batch, a PNG.
      found: the filters.
    """
    values = {
        field.name: field.default
        if isinstance(field.default, int | float)
        else shown(field.default)
        for field in fields_of(config)
        if field.name not in WHERE
    }
    records.hyper_parameters(values, SHOWN_METRICS)
    records.picture("batch", step, batch.read_bytes())
    sheet = side_by_side(found, columns=min(16, len(found.pictures) // found.groups))
    enlarged = sheet.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
    records.picture(f"filters/{found.layer}", step, png_of(enlarged))


def show_answers(workdir: Path, answered: Answered) -> None:
    """Adds a file of events with the confusions and the worst mistakes; an earlier one goes.

    Args:
      workdir: the folder of the run.
      answered: what its network answered.

    Raises:
      UserError: it cannot be written.
    """
    pictures = {
        "answers/confusions": _drawn(
            lambda path: draw_confusion(answered.matrix, answered.class_names, path)
        )
    }
    if answered.mistakes:
        panels = [
            Panel(m.image, f"{m.answer} {m.probability:.1%}, is {m.label}")
            for m in answered.mistakes
        ]
        section = Section(panels, columns=6, side=1.4, lines=2)
        pictures["answers/mistakes"] = _drawn(
            lambda path: draw_grid([[section]], path, title="Worst mistakes", note=answered.about)
        )
    events = Events(workdir, suffix="answers")
    for tag, png in pictures.items():
        events.picture(tag, answered.step, png)
    events.close()


def _drawn(draw: Callable[[Path], None]) -> bytes:
    """The file that a function draws."""
    with tempfile.TemporaryDirectory(prefix="jaxcnn-") as place:
        path = Path(place) / "picture.png"
        draw(path)
        return path.read_bytes()
