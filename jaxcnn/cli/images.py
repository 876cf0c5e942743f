"""The images that a command line names: files, folders, and what comes in on standard input."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxcnn.cli.embedded import EMBEDDED, embedded_digits, is_embedded
from jaxcnn.data.decode import FORMATS, LARGEST_FILE, decode
from jaxcnn.data.folders import SUFFIXES
from jaxcnn.errors import UserError
from jaxcnn.files import read_bounded

IMAGES = (
    "images, folders of images, - for standard input (an image, or paths, one to a line), "
    f"{EMBEDDED}"
)
"""The ``help`` of the argument."""

ADVICE = "mend it, or leave it out."
"""What to do about an image that cannot be read, for the end of the sentence."""

Trouble = Callable[[UserError], None]


class NamedFile(NamedTuple):
    """An encoded image.

    Attributes:
      name: its path, or ``'standard input'``.
      data: the file's bytes.
    """

    name: str
    data: bytes


class NamedImage(NamedTuple):
    """An image.

    Attributes:
      name: its path, or ``'standard input'``.
      pixels: uint8, shape ``(height, width, channels)``.
    """

    name: str
    pixels: np.ndarray


def images_of_words(
    words: Iterable[str], channels: int, *, trouble: Trouble | None = None
) -> Iterator[NamedImage]:
    """The images that the words of a command line name, each read when it is asked for.

    Args:
      words: as for `files_of_words`.
      channels: 1 for grey, 3 for RGB.
      trouble: as for `files_of_words`.

    Raises:
      UserError: there is no such image, or it cannot be read.
    """
    for name, data in files_of_words(words, trouble=trouble):
        try:
            pixels = decode(data, channels, name=name, advice=ADVICE)
        except UserError as error:
            _tell(error, trouble)
        else:
            yield NamedImage(name, pixels)


def files_of_words(words: Iterable[str], *, trouble: Trouble | None = None) -> Iterator[NamedFile]:
    """The encoded images that the words of a command line name, each read when it is asked for.

    Args:
      words: paths of images; of folders, for the images in them and below, in the order of their
        paths; or ``'-'``, for standard input: the bytes of one image, or else such paths, one to a
        line, as what comes in shows; or embedded digits, as `embedded_digits` has them.
      trouble: is told of what cannot be read, which is then left out; None: it is raised.

    Raises:
      UserError: a file cannot be read, or a folder has no images.
    """
    for word in words:
        if is_embedded(word):
            yield from (NamedFile(name, data) for name, data in embedded_digits(word))
            continue
        try:
            found = _standard_input() if word == "-" else word
        except UserError as error:
            _tell(error, trouble)
            continue
        if isinstance(found, NamedFile):
            yield found
            continue
        for path in [found] if isinstance(found, str) else found:
            yield from _files(path, trouble)


def _files(path: str, trouble: Trouble | None) -> Iterator[NamedFile]:
    try:
        paths = _below(Path(path)) if os.path.isdir(path) else [path]
    except UserError as error:
        _tell(error, trouble)
        return
    for each in paths:
        try:
            file = NamedFile(each, read_bounded(each, LARGEST_FILE))
        except UserError as error:
            _tell(error, trouble)
        else:
            yield file


def _below(folder: Path) -> list[str]:
    """The images in a folder and all below it; what begins with a dot is passed over."""
    found = []
    try:
        for place, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            images = [name for name in files if name.lower().endswith(SUFFIXES) and name[0] != "."]
            found += [os.path.join(place, name) for name in images]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed ({error.strerror}).") from error
    if not found:
        raise UserError(f"the folder {folder} has no images ({', '.join(SUFFIXES)}).")
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _standard_input() -> NamedFile | list[str]:
    """The image on standard input, or the paths."""
    data = sys.stdin.buffer.read(LARGEST_FILE + 1)
    if not data.strip():
        raise UserError("standard input is empty; give it an image, or paths, one to a line.")
    if len(data) > LARGEST_FILE:
        raise UserError(f"standard input has more than the {LARGEST_FILE:,} bytes that are read.")
    # No path has a zero byte. A damaged image has one, and is better told of as an image.
    if b"\0" in data or _is_image(data):
        return NamedFile("standard input", data)
    return [os.fsdecode(line) for line in data.splitlines() if line.strip()]


def _is_image(data: bytes) -> bool:
    """By its first bytes."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS):
            return True
    except Exception:  # a parser of untrusted bytes fails in every way there is
        return False


def _tell(error: UserError, trouble: Trouble | None) -> None:
    if trouble is None:
        raise error
    trouble(error)
