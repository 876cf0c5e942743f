"""What becomes of the images of a data set that is written once more, and what it is called."""

import dataclasses
import io
import re

import numpy as np
from PIL import Image

from jaxcnn.data.decode import decode, encode_raw
from jaxcnn.data.views import rescale
from jaxcnn.errors import UserError

_USUAL_QUALITY = 90
_SMALL = 16  # pixels: the least that a shorter side is reduced to
_SUFFIX = re.compile(r"(_side\d+)?(_q\d+)?(_raw)?$")


@dataclasses.dataclass(frozen=True)
class Form:
    """What becomes of the images.

    Attributes:
      side: pixels of the shorter side that larger images are reduced to; None leaves them.
      raw: keep pixels (PPM), not JPEGs.
      quality: of JPEGs, as Pillow counts it, from 1 to 95; an image that is no larger than `side`
        keeps its bytes.
    """

    side: int | None
    raw: bool = False
    quality: int = _USUAL_QUALITY

    def check(self) -> None:
        """Raises `UserError` for what cannot be."""
        if self.side is not None and self.side < _SMALL:
            raise UserError(f"--side={self.side} is too small; give {_SMALL} pixels or more.")
        if not 1 <= self.quality <= 95:
            raise UserError(f"--quality={self.quality} is not between 1 and 95.")
        if self.side is None and not self.raw:
            raise UserError("there is nothing to do; give --side=PIXELS, --raw, or both.")

    @property
    def file_format(self) -> str:
        """TFDS's name for that of its files.

        Pixels lie in TFRecord, which is read in half of array_record's time where images are large:
        it takes one call to the system and checks nothing.
        """
        return "tfrecord" if self.raw else "array_record"

    @property
    def suffix(self) -> str:
        """What is put behind the data set's name."""
        quality = "" if self.raw or self.quality == _USUAL_QUALITY else f"_q{self.quality}"
        side = "" if self.side is None else f"_side{self.side}"
        return f"{side}{quality}{'_raw' if self.raw else ''}"

    def apply(self, data: bytes, channels: int) -> bytes:
        """An encoded image in this form; one that cannot be read as it is, for training to find."""
        try:
            pixels = decode(data, channels, shorter_side=self.side)
        except UserError:
            return data
        if self.side is not None and min(pixels.shape[:2]) > self.side:
            pixels = rescale(pixels, self.side)
        if self.raw:
            return encode_raw(pixels)
        with Image.open(io.BytesIO(data)) as original:
            reduced = (original.height, original.width) != pixels.shape[:2]
        return _jpeg(pixels, self.quality) if reduced else data


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        file, "JPEG", quality=quality
    )
    return file.getvalue()


def original_name(name: str) -> str:
    """The data set, ``NAME`` or ``NAME/CONFIG``, that one of this name was made of; or itself."""
    first, slash, rest = name.partition(":")[0].partition("/")
    return _SUFFIX.sub("", first) + slash + rest
