"""The network, the image and the file of a command that makes a picture of what a network sees."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.cli.images import images_of_words
from jaxcnn.cli.network import add_network, images_of, network_of
from jaxcnn.cli.output import Output
from jaxcnn.data.views import View, pad, rescale
from jaxcnn.errors import UserError
from jaxcnn.inspection.scores import class_called, class_label, probabilities
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained.network import Pretrained

IMAGE = "an image, - for standard input, or digits:N for a test image of the embedded digits"


@dataclasses.dataclass(frozen=True)
class Looked:
    """A network to look into, and how it is shown an image.

    Attributes:
      network: with its weights.
      preprocessing: what makes its input; of weights that do not say, to [-1, 1].
      title: the network's name, and that its weights are random if they are.
      size: height and width of an image as it sees it.
      scale: what the shorter side of an image is rescaled to before its centre is cropped.
    """

    network: Pretrained
    preprocessing: Preprocessing
    title: str
    size: int
    scale: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one image for the network."""
        return (1, self.size, self.size, len(self.preprocessing.mean))

    def inputs(self, pixels: np.ndarray) -> jax.Array:
        """What the network takes of images, uint8 ``(n, height, width, channels)``."""
        return self.preprocessing(jnp.asarray(pixels))

    def level(self, grey: int) -> np.ndarray:
        """A grey level of 0 to 255 as the network takes it, ``(channels,)``."""
        pixels = np.full(self.shape, grey, np.uint8)
        # Of a mean image the middle stands for all.
        return np.asarray(self.inputs(pixels))[0, self.size // 2, self.size // 2]

    def shown(self, word: str, *, whole: bool = False) -> tuple[str, np.ndarray]:
        """The name of one image, and its pixels as the network sees them.

        Args:
          word: of the command line.
          whole: all of the rescaled image, not the square at its centre.

        Raises:
          UserError: there is no such image, or there are several.
        """
        found = list(itertools.islice(self.all_shown([word], whole=whole), 2))
        if len(found) > 1:
            raise UserError(f"'{word}' is more than one image; name one, such as '{found[0][0]}'.")
        return found[0]

    def all_shown(
        self, words: list[str], *, whole: bool = False
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The same of every image that some words name, each read when it is asked for."""
        padding = self.preprocessing.padding or 0
        for name, pixels in images_of_words(words, len(self.preprocessing.mean)):
            if whole:
                yield name, pad(rescale(pixels, self.scale), padding)
            else:
                yield name, View(self.scale, self.size, padding).apply(pixels)

    def answer(self, pixels: np.ndarray) -> tuple[int, float]:
        """The most probable class of an image, uint8 ``(height, width, channels)``, and how so."""
        model, variables = self.network.model, self.network.variables
        logits = jax.jit(model.apply)(variables, self.inputs(pixels[None]))
        of = probabilities(logits)[0]
        return int(of.argmax()), float(of.max())

    def asked_class(self, word: str | None, pixels: np.ndarray, output: Output) -> int:
        """The class that the command line names, else the network's answer, which is remarked.

        Raises:
          UserError: there is no such class; the nearest is suggested.
        """
        names = self.network.class_names
        if word is not None:
            return class_called(word, self.network.model.num_classes, names)
        label, probability = self.answer(pixels)
        output.note(
            f"the network's answer is '{class_label(label, names)}' ({100 * probability:.1f} %); "
            "--class=NAME asks about another."
        )
        return label


@dataclasses.dataclass(frozen=True)
class Question:
    """What a command asks of a network about one image.

    Attributes:
      looked: the network, and how it is shown the image.
      name: of the image.
      pixels: of it as the network sees them, uint8 ``(height, width, channels)``.
      label: the class that is asked about.
    """

    looked: Looked
    name: str
    pixels: np.ndarray
    label: int

    @property
    def inputs(self) -> jax.Array:
        """What the network takes of the image, in a batch of one."""
        return self.looked.inputs(self.pixels[None])

    @property
    def file_name(self) -> str:
        """The image's name, without folders."""
        return Path(self.name).name

    @property
    def called(self) -> str:
        """What to call the class."""
        return class_label(self.label, self.looked.network.class_names)


def question_of(arguments: argparse.Namespace, output: Output) -> Question:
    """What the arguments of `add_looked`, `add_image` and `add_class` ask.

    Raises:
      UserError: there is no such network, image or class.
    """
    looked = looked_into(arguments, output)
    name, pixels = looked.shown(arguments.image)
    return Question(looked, name, pixels, looked.asked_class(arguments.label, pixels, output))


def add_looked(parser: argparse.ArgumentParser, picture: str) -> None:
    """Adds the network and the picture's file, which is named after the kind of picture."""
    add_network(parser, weights="random ones, by --seed")
    parser.add_argument(
        "--output", metavar="FILE.png", default=f"{picture}.png", help="the picture"
    )


def add_image(parser: argparse.ArgumentParser) -> None:
    """Adds one image."""
    parser.add_argument("image", nargs="?", default="digits:0", help=IMAGE)


def add_class(parser: argparse.ArgumentParser) -> None:
    """Adds a class to ask about."""
    parser.add_argument(
        "--class",
        dest="label",
        metavar="NAME",
        help="a class's name, or its number from 0 (default: the network's answer)",
    )


def looked_into(arguments: argparse.Namespace, output: Output) -> Looked:
    """The network that the arguments name, and how it is shown images.

    Raises:
      UserError: there is no such network, or the weights are not its own.
    """
    network = network_of(arguments, output)
    height, _, channels = images_of(arguments)
    preprocessing = network.preprocessing
    title = arguments.network
    if preprocessing is None:
        preprocessing = Preprocessing.named("half", channels)
    if arguments.weights is None:
        title += f" (random weights, seed {arguments.seed})"
    size, scale = height, height
    if arguments.image_size is None and preprocessing.crop is not None:
        size, scale = preprocessing.crop, preprocessing.shorter_side or preprocessing.crop
    elif arguments.image_size is None and arguments.weights is not None:
        scale = round(size * 256 / 224)
    return Looked(network, preprocessing, title, size, scale)


def picture_path(arguments: argparse.Namespace) -> Path:
    """Where the picture goes.

    Raises:
      UserError: the name is not one of a PNG file.
    """
    path = Path(arguments.output)
    if path.suffix.lower() != ".png":
        raise UserError(f"--output={path} must end in .png: pictures are PNG files.")
    return path


_DIGITS = 5  # of a channel's number


def channel_numbers(text: str) -> tuple[int, ...]:
    """The ``type`` of an option that takes channels: ``'3'``, ``'3,7'``, ``'0-15'``.

    Raises:
      ArgumentTypeError: it is nothing of the kind.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isdecimal() and len(end) <= _DIGITS for end in ends) or int(first) > int(
            ends[1]
        ):
            raise argparse.ArgumentTypeError(f"'{text}' is no list of channels such as 3,7 or 0-15")
        found |= dict.fromkeys(range(int(first), int(ends[1]) + 1))
    return tuple(found)


def add_channels(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds channels of a layer; the default is said in ``--help`` and left to the command."""
    parser.add_argument(
        "--channels",
        type=channel_numbers,
        metavar="N,N-N",
        help=f"numbers from 0, such as 3,7 or 0-15 (default: {default})",
    )
