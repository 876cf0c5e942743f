"""Scikit-learn's handwritten digits as a data set of TFDS, so that they travel ImageNet's road.

1,797 grey images of 8x8 pixels with 17 levels, from E. Alpaydin and C. Kaynak, "Optical Recognition
of Handwritten Digits", UCI Machine Learning Repository, 1998; they come with scikit-learn, so that
no download is needed.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcnn.data.cache import cache_folder
from jaxcnn.errors import UserError


class Digits(tfds.core.GeneratorBasedBuilder):
    """The builder: PNG images, levels spread over 0..255, 1,438 to train on and 359 to test with.

    Every fifth image of a class is a test image, which holds out a fifth of each class and of each
    writer's contribution, without any random number.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Every fifth image of each class is for testing."}  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits of 8x8 pixels, from scikit-learn.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # nothing to download
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
        images = np.round(levels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        rank = np.empty(len(labels), np.int64)  # of an image among those of its class
        for label in range(10):
            rank[labels == label] = np.arange(np.sum(labels == label))
        held_out = rank % 5 == 2
        return {
            "train": self._generate_examples(images[~held_out], labels[~held_out]),
            "test": self._generate_examples(images[held_out], labels[held_out]),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "png")
            yield index, {"image": png.getvalue(), "label": int(label)}


def prepared_digits() -> Path:
    """The folder of the prepared digits in the user's cache, made (in a second) if it is not there.

    Any number of processes may ask at once: each prepares a folder of its own, the first to finish
    gives it the lasting name, and the others take that one.

    Raises:
      UserError: the cache cannot be written.
    """
    root = cache_folder("tfds")
    folder = root / Digits.name / str(Digits.VERSION)
    if folder.exists():
        return folder
    try:
        with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as temporary:
            silence = io.StringIO()  # TFDS announces what takes a second
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                Digits(data_dir=temporary, file_format="array_record").download_and_prepare()
            folder.parent.mkdir(exist_ok=True)
            os.rename(Path(temporary) / Digits.name / str(Digits.VERSION), folder)
    except OSError as error:
        if not folder.exists():  # another process was not faster, either
            raise UserError(
                f"the digits cannot be prepared in {root} ({error.strerror or error}); "
                "set the environment variable JAXCNN_CACHE to a folder that can be written."
            ) from error
    return folder
