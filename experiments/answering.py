"""What the networks of an evaluation answer to a set of images, over devices and processes."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.members import Member
from experiments.network import on_devices
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.prefetch import read_ahead
from jaxcnn.data.shown import ImageViews, Shown
from jaxcnn.data.sources import Source
from jaxcnn.evaluation import protocols
from jaxcnn.evaluation.answers import Answer, Answers, answer_all
from jaxcnn.evaluation.buckets import Buckets
from jaxcnn.evaluation.predictions import predict_crops, predict_whole
from jaxcnn.evaluation.protocols import Look
from jaxcnn.progress import Progress
from jaxcnn.training.devices import Layout
from jaxcnn.training.processes import to_first

# How much is read ahead: so many images, or bytes of views; but one image for each thread at least.
_AHEAD, _AHEAD_BYTES = 128, 2**28


def answers_of(
    members: Sequence[Member],
    looked: Sequence[Look],
    source: Source,
    data: DataConfig,
    layout: Layout,
    *,
    stride: int,
    batch_size: int,
) -> tuple[Answers, int, int]:
    """The answers of all members to all images, on process 0; with a progress bar there.

    Every process goes through a share of the images on its own devices.

    Args:
      members: the networks, which take the same images.
      looked: what each image is looked at by.
      source: the images.
      data: their form and how they are read.
      layout: this process's devices.
      stride: of the networks, in pixels.
      batch_size: crops that go through a network together.

    Returns:
      The answers, the number of images that could not be read, and that of the shapes of batches;
      on other processes those of their own share.

    Raises:
      UserError: an image cannot be read.
    """
    size, process, processes = members[0].image_size, jax.process_index(), jax.process_count()
    shown = tuple(view_of(look, size, stride) for look in looked)
    views = ImageViews(
        source, config=data, shown=shown, process_index=process, process_count=processes
    )

    def places(shape: tuple[int, ...]) -> int:
        """Of a batch of views of that shape, for every device as many."""
        crops = shape[0] if len(shape) == 4 else shape[0] * shape[1] / size**2
        images = max(1, int(batch_size / crops))
        return images + -images % layout.batch_parts

    buckets = Buckets(places)
    with (
        Progress(total=len(source), description="evaluation", enabled=process == 0) as bar,
        read_ahead(
            views,
            0,
            len(views),
            workers=data.workers,
            threads=data.threads,
            prefetch=min(_AHEAD, _AHEAD_BYTES // _bytes(shown, data)),
        ) as stream,
    ):
        answers, skipped = answer_all(
            stream,
            _answer(members, layout, batch_size),
            buckets,
            looks=len(looked),
            networks=len(members),
            num_classes=members[0].num_classes,
            progress=bar,
            share=processes,
        )
    return _together(answers, skipped, len(buckets.shapes))


def view_of(look: Look, size: int, stride: int = 1) -> Shown:
    """What a look shows of an image, as crops of ``size`` pixels or cut to the network's stride."""
    return Shown(look.scale, functools.partial(protocols.show, look=look, size=size, stride=stride))


def _bytes(shown: Sequence[Shown], data: DataConfig) -> int:
    """What the views of a square image take."""
    sides = [each.scale + 2 * data.padding for each in shown]
    squares = [np.zeros((side, side, data.channels or 3), np.uint8) for side in sides]
    return sum(each.cut(image).nbytes for each, image in zip(shown, squares, strict=True))


def _answer(members: Sequence[Member], layout: Layout, batch_size: int) -> Answer:
    """What gives a batch of views to every member, on the layout's devices."""
    # Under pmap a function sees what one device has, under jit what all have.
    at_once = batch_size if layout.axis_name is None else -(-batch_size // layout.batch_parts)

    def compiled(member: Member) -> Any:
        model = on_devices(member.model, layout)
        of_crops = predict_crops(model, member.preprocessing, at_once=at_once)
        of_whole = predict_whole(model, member.preprocessing)

        def predict(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
            views = batch["views"]
            return (of_crops if views.ndim == 5 else of_whole)(variables, views)

        return layout.compile(predict)

    networks = [(compiled(member), layout.replicate(member.variables)) for member in members]

    def answer(views: np.ndarray) -> list[jax.Array]:
        batch = layout.place({"views": views})
        return [network(variables, batch) for network, variables in networks]

    return answer


def _together(answers: Answers, skipped: int, shapes: int) -> tuple[Answers, int, int]:
    """All processes' answers, on process 0, in the order of the images."""
    file = io.BytesIO()
    np.savez(file, skipped=skipped, shapes=shapes, **vars(answers))
    parts = [np.load(io.BytesIO(data)) for data in to_first(file.getvalue())]
    if not parts:
        return answers, skipped, shapes
    rows = {name: np.concatenate([part[name] for part in parts]) for name in vars(answers)}
    return (
        Answers(**rows).in_order(),
        sum(int(part["skipped"]) for part in parts),
        max(int(part["shapes"]) for part in parts),
    )
