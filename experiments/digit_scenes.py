# PYTHON_ARGCOMPLETE_OK
r"""Coloured digits somewhere in photographs: a data set that is worth looking into.

    python -m experiments.digit_scenes runs/digit_scenes

The embedded digits fill their images, so that there is little to find in them. Here each is drawn
in a colour of its own at a random place and size over a part of one of the two photographs that
come with scikit-learn. Folders are written as every recipe takes them, train/CLASS/*.png and
validation/CLASS/*.png, from the digits' own training and test images over the same photographs; the
same options make the same files. Everything is embedded: nothing is downloaded.

The pictures of docs/images that show a network's inside are of one that these commands train (but
for filters.png, which is of `alexnet_imagenet digits`):

    python -m experiments.digit_scenes runs/digit_scenes
    python -m experiments.vgg_cifar10 --config=digits --config.workdir=runs/vgg_cifar10/scenes \
        --config.data.source=./runs/digit_scenes --config.data.eval_split=validation \
        --config.data.image_size=64 --config.augment.pad=0 --config.augment.scale_min=72 \
        --config.model.pooled_size=2 --config.optimizer.name=adam \
        --config.optimizer.learning_rate=2e-3 --config.optimizer.weight_decay=0 \
        --config.train.batch_size=32
    python -m experiments.share --run=runs/vgg_cifar10/scenes --output=scenes
    python -m jaxcnn inside vgg11_bn --weights=scenes \
        runs/digit_scenes/validation/5/0084_0.png

(for docs/images/looking_inside.png that image was copied to magenta_five.png).

It has 98.6 % of the 359 validation scenes after 9 of the 12 epochs, on 2 CPU cores with much other
work; the time was not measured.
"""

import colorsys
import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from experiments.options import parse_options
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.data.decode import decode
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing

# Of each of the digits' splits, the folder.
_SPLITS = {"train": "train", "test": "validation"}


@dataclasses.dataclass(frozen=True)
class ScenesConfig:
    """How many scenes are drawn, and how large.

    Attributes:
      folder: where `train` and `validation` are made.
      size: height and width of a scene, in pixels.
      copies: scenes of each training digit; of each test digit there is one.
      seed: of places, sizes, colours and backgrounds.
    """

    folder: str = "runs/digit_scenes"
    size: int = 72
    copies: int = 3
    seed: int = 0

    def check(self) -> None:
        """Raises `UserError` for what cannot be drawn."""
        if not 16 <= self.size <= 300:
            raise UserError(f"size is {self.size}; give 16 to 300 pixels.")
        if self.copies < 1:
            raise UserError(f"copies is {self.copies}; give 1 or more.")


def scene(
    digit: np.ndarray, photograph: np.ndarray, size: int, generator: np.random.Generator
) -> np.ndarray:
    """A digit in a photograph.

    Args:
      digit: uint8, ``(8, 8)``: how much ink there is.
      photograph: uint8, ``(height, width, 3)``.
      size: of the scene, in pixels.
      generator: of all that is random.

    Returns:
      uint8, ``(size, size, 3)``.
    """
    height, width = photograph.shape[:2]
    side = int(generator.integers(min(height, width) // 3, min(height, width) + 1))
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    part = photograph[top : top + side, left : left + side]
    background = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA) * 0.5
    extent = int(size * generator.uniform(0.5, 0.7))
    ink = cv2.resize(digit, (extent, extent), interpolation=cv2.INTER_CUBIC) / 255
    color = 255 * np.array(colorsys.hsv_to_rgb(generator.random(), generator.uniform(0.2, 0.8), 1))
    row, column = generator.integers(size - extent + 1, size=2)
    place = np.s_[row : row + extent, column : column + extent]
    background[place] += ink[..., None] * (color - background[place])
    return np.clip(np.round(background), 0, 255).astype(np.uint8)


def write_scenes(config: ScenesConfig) -> dict[str, int]:
    """Writes the folders; returns how many scenes each has.

    Raises:
      UserError: the folder is there already, or cannot be written.
    """
    from sklearn.datasets import load_sample_images

    config.check()
    folder = Path(config.folder)
    if folder.exists():
        raise UserError(f"{folder} is there already; remove it, or name another folder.")
    photographs = load_sample_images().images
    counts = {}
    for number, (split, name) in enumerate(_SPLITS.items()):
        source = open_source("digits", split)
        for label in source.class_names:
            with writing(folder / name):
                (folder / name / label).mkdir(parents=True)
        copies = config.copies if split == "train" else 1
        for index in range(len(source)):
            image, label_number, _ = source[index]
            digit = decode(image, 1)[..., 0]
            for copy in range(copies):
                generator = np.random.default_rng((config.seed, number, index, copy))
                photograph = photographs[int(generator.integers(len(photographs)))]
                drawn = scene(digit, photograph, config.size, generator)
                png = io.BytesIO()
                Image.fromarray(drawn).save(png, "png")
                file = folder / name / source.class_names[label_number] / f"{index:04}_{copy}.png"
                write_atomically(file, png.getvalue())
        counts[name] = copies * len(source)
    return counts


def main(argv: Sequence[str], output: Output) -> int:
    """Writes what the command line asks for; returns the exit status."""
    # The folder needs no name of an option.
    words = [word if word.startswith("-") else f"--folder={word}" for word in argv]
    config = parse_options(
        words,
        ScenesConfig(),
        program="python -m experiments.digit_scenes",
        description=__doc__,
    )
    counts = write_scenes(config)
    made = " and ".join(f"{count} for {name}" for name, count in counts.items())
    output.result(
        {"folder": config.folder, "scenes": counts}, f"Written to {config.folder}: {made}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "digit_scenes"))
