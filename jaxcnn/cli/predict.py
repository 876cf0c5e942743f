"""The most probable classes of images, by a network with trained weights.

python -m jaxcnn predict vgg16 --weights=vgg16-397923af.pth photo.jpg holidays/
python -m jaxcnn predict vgg16 --weights=vgg16-397923af.pth --protocol=dense --scales=256,384 a.jpg
curl -s https://example.org/a.jpg | python -m jaxcnn predict vgg16 --weights=FOLDER --json -
find . -name '*.png' | python -m jaxcnn predict resnet50 --weights=FILE --quiet -

Images are rescaled, cropped and normalised as the weights were trained for. An image that cannot be
read is told of in a sentence; the others are answered all the same, and the exit status is 2.
With --json there is an object to a line for every image, as soon as it is known:
{"image": "photo.jpg", "top": [{"class": 0, "name": "tench", "probability": 0.93}, ...]}.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxcnn.cli.exit_status import USER_MISTAKE
from jaxcnn.cli.images import ADVICE, IMAGES, NamedFile, files_of_words
from jaxcnn.cli.network import add_trained_network, classifier_of, network_of
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import add_choice, comma_separated
from jaxcnn.data.decode import decode
from jaxcnn.data.views import pad, rescale
from jaxcnn.errors import UserError, printable
from jaxcnn.evaluation.classifier import Classifier, stride_of
from jaxcnn.evaluation.predictions import predict_crops, predict_whole
from jaxcnn.evaluation.protocols import METHODS, Look, looks, show, usual_scales

_AT_ONCE = 64  # crops that go through the network together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    add_trained_network(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=IMAGES)
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="height and width (default: the weights')"
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many classes")
    add_choice(parser, "--protocol", METHODS, default="center", help="what is shown of an image")
    parser.add_argument(
        "--scales",
        type=comma_separated,
        default=(),
        metavar="PIXELS,...",
        help="what an image's shorter side is rescaled to (default: the weights' or protocol's)",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the classes of every image; returns the exit status.

    Raises:
      UserError: the network, the protocol or the scales cannot work.
    """
    if arguments.top < 1:
        raise UserError(f"--top must be 1 or more, not {arguments.top}.")
    scales = _scales(arguments.scales)
    network = classifier_of(
        arguments.network, arguments.weights, network_of(arguments, output), arguments.image_size
    )
    network.check()
    scales = scales or usual_scales(arguments.protocol, network.scale, network.image_size)
    answer = _answering(network, looks(arguments.protocol, scales))
    unread = 0

    def trouble(error: UserError) -> None:
        nonlocal unread
        unread += 1
        print(f"jaxcnn: {error}", file=sys.stderr, flush=True)

    for file in files_of_words(arguments.images, trouble=trouble):
        try:
            probabilities = answer(file)
        except UserError as error:
            trouble(error)
        else:
            top = _top(probabilities, arguments.top, network.class_names)
            output.result({"image": file.name, "top": top}, _text(file.name, top))
    return USER_MISTAKE if unread else 0


def _scales(words: Sequence[str]) -> tuple[int, ...]:
    if not all(word.isdecimal() and int(word) for word in words):
        raise UserError(f"--scales={','.join(words)} must be whole numbers of pixels, 1 or more.")
    scales = tuple(map(int, words))
    if len(set(scales)) < len(scales):
        raise UserError(f"--scales={','.join(words)} names a scale twice.")
    return scales


def _answering(network: Classifier, looked: Sequence[Look]) -> Callable[[NamedFile], np.ndarray]:
    """What gives the probabilities of an image, averaged over what is looked at."""
    stride = stride_of([network], looked)
    of_crops = jax.jit(predict_crops(network.model, network.preprocessing, at_once=_AT_ONCE))
    of_whole = jax.jit(predict_whole(network.model, network.preprocessing))

    def answer(file: NamedFile) -> np.ndarray:
        views = []
        for look in looked:
            image = decode(
                file.data,
                network.channels,
                shorter_side=look.scale,
                name=file.name,
                advice=ADVICE,
            )
            image = pad(rescale(image, look.scale), network.padding)
            views.append(show(image, look, network.image_size, stride)[None])
        answers = [
            (of_crops if view.ndim == 5 else of_whole)(network.variables, view) for view in views
        ]
        every = np.stack([np.asarray(each[0]) for each in answers])
        return every.astype(np.float64).sum(axis=0) / len(every)

    return answer


def _top(
    probabilities: np.ndarray, count: int, class_names: Sequence[str] | None
) -> list[dict[str, Any]]:
    """The most probable classes, the first one first, JSON-able."""
    order = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return [
        {
            "class": number,
            "name": None if class_names is None else class_names[number],
            "probability": float(probabilities[number]),
        }
        for number in order
    ]


def _text(name: str, top: Sequence[dict[str, Any]]) -> str:
    rows = []
    for each in top:
        called = each["name"] or f"class {each['class']}"
        rows.append(f"  {each['probability']:8.2%}  {printable(called)}")
    return "\n".join([printable(name), *rows])
