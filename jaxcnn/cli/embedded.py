"""The handwritten digits that come with the package's dependencies, where an image is asked for."""

import re
from collections.abc import Iterator

import numpy as np

from jaxcnn.data.decode import decode, encode_raw
from jaxcnn.errors import UserError

EMBEDDED = "digits:N for a test image of the embedded digits, digits for all of them"
"""For the ``help`` of an argument that takes them."""

_WORD = re.compile(r"digits(:(?P<numbers>\d+(\+\d+)*))?")


def is_embedded(word: str) -> bool:
    """Whether a word of a command line asks for embedded digits, and not for a file."""
    return _WORD.fullmatch(word) is not None


def embedded_digits(word: str) -> Iterator[tuple[str, bytes]]:
    """The names and the encoded images that a word stands for.

    Args:
      word: ``'digits'``, all 359 test images; ``'digits:7'``, the eighth of them; ``'digits:7+0'``,
        several side by side in one image.

    Raises:
      UserError: there is no such digit.
    """
    # Not imported with this file: TFDS is half of what a command takes to start.
    from jaxcnn.data.sources import open_source

    source = open_source("digits", "test")
    match = _WORD.fullmatch(word)
    numbers = match and match["numbers"]
    if not numbers:
        for number in range(len(source)):
            yield f"digits:{number}", source[number].image
        return
    wanted = [int(number) for number in numbers.split("+")]
    if max(wanted) >= len(source):
        raise UserError(f"there is no digit {word}; the last one is digits:{len(source) - 1}.")
    pixels = [decode(source[number].image, 1) for number in wanted]
    yield word, encode_raw(np.concatenate(pixels, axis=1))
