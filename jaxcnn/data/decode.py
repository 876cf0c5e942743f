"""From an encoded image to its pixels, 8 bits a channel.

Pillow reads everything here. It decodes JPEG at 1/2, 1/4 and 1/8 scale inside the inverse DCT,
refuses what is cut short, and is silent (but for damaged TIFF files, of which its libtiff says a
line). OpenCV decodes JPEG somewhat faster, but its libjpeg and libpng write to the process's stderr
at each of the slightly damaged files that every large collection holds, and nothing can stop them.

One form is read without it: raw pixels as a PPM, which are there already. Caches of pixels hold it.
"""

import io
import math
import re
import warnings

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from jaxcnn.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What is read, by Pillow's names; the first frame of what has several."""

LARGEST_IMAGE = 2**26
"""The most pixels that are decoded of an image, 8192 x 8192.

Decoding so many takes 0.7 GB, in each thread that meets such an image. Of a JPEG what counts is
what is left at the scale that it is decoded at, so that it may have twice as many; unless it is
progressive, for then all of its coefficients are held at once.
"""

LARGEST_FILE = 8 * LARGEST_IMAGE
"""The most bytes of its file: four channels of 16 bits, not compressed."""

# Each scan of a progressive JPEG goes through all pixels, and may be a hundred bytes long. Encoders
# make about ten; at so many pixels in all, decoding takes some three seconds.
_MOST_SCANNED = 2**33

# Of 8 bits, with nothing in its header that need not be there, as `encode_raw` writes it.
_RAW = re.compile(rb"P([56])\n([1-9][0-9]{0,6}) ([1-9][0-9]{0,6})\n255\n")

# Pillow warns of damaged EXIF data, which is not read here, and of images of half the size that it
# refuses. In a training run these would come back in every epoch, through the progress bar.
warnings.filterwarnings("ignore", module=r"PIL\.")


_IN_TRAINING = "mend or remove it, or leave out such images with --config.data.on_error=skip."


def decode(
    data: bytes,
    channels: int,
    *,
    shorter_side: int | None = None,
    name: str = "image",
    advice: str = _IN_TRAINING,
) -> np.ndarray:
    """The pixels of an encoded image.

    Conversions: CMYK and palettes become RGB; RGB becomes grey by the luma of ITU-R 601 (a JPEG's
    own Y); 16 bits become 8 by their high byte. Alpha is dropped, not composited, and the EXIF
    orientation is not applied: torchvision's and TensorFlow's readers do neither, so that the
    pixels here are those that published results were measured on.

    Args:
      data: the file's bytes, in one of `FORMATS`.
      channels: 1 for grey, 3 for RGB.
      shorter_side: how many pixels of the shorter side are needed. A larger JPEG is decoded at the
        smallest of 1/8, 1/4, 1/2 and full scale that leaves at least as many. None: full scale.
      name: what to call the image in an error.
      advice: what to do about it, for the end of that sentence.

    Returns:
      uint8, shape ``(height, width, channels)``; it may be read-only, and share memory with `data`.

    Raises:
      UserError: the bytes are no image, a damaged or truncated one, or, by their header, one of
        more than `LARGEST_IMAGE` pixels.
    """
    if (pixels := _raw_pixels(data, channels)) is not None:
        return pixels
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            count = math.prod(image.size)
            size = None if shorter_side is None else (shorter_side, shorter_side)
            image.draft("L" if channels == 1 else None, size)
            progressive = "progressive" in image.info
            held = count if progressive else max(math.prod(image.size), count // 2)
            if held > LARGEST_IMAGE:
                raise Image.DecompressionBombError
            if progressive and (scans := data.count(b"\xff\xda")) * count > _MOST_SCANNED:
                raise ValueError(f"it goes through its {count:,} pixels {scans:,} times")
            return _pixels(image, channels)
    except Image.DecompressionBombError:  # also Pillow's own, at 179 million
        most = f"{LARGEST_IMAGE:,}"
        raise UserError(
            f"'{name}' has more than the {most} pixels that are read; {advice}"
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            f"'{name}' is not an image in any of the formats {', '.join(FORMATS)}; {advice}"
        ) from None
    except Exception as error:  # a parser of untrusted bytes fails in every way there is
        raise UserError(f"'{name}' cannot be read as an image ({error}); {advice}") from error


def encode_raw(pixels: np.ndarray) -> bytes:
    """An image ``(height, width, channels)``, uint8, as a PPM, or, of one channel, a PGM."""
    height, width, channels = pixels.shape
    return b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, width, height) + pixels.tobytes()


def _raw_pixels(data: bytes, channels: int) -> np.ndarray | None:
    """The pixels of what `encode_raw` makes, where they lie; None of anything else."""
    match = _RAW.match(data)
    if match is None or int(match[1]) != (5 if channels == 1 else 6):
        return None
    shape = (int(match[3]), int(match[2]), channels)
    if len(data) - match.end() != math.prod(shape) or math.prod(shape[:2]) > LARGEST_IMAGE:
        return None
    return np.frombuffer(data, np.uint8, offset=match.end()).reshape(shape)


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of the kind {image.mode} have no fixed range")
    if image.mode != mode:
        image.load()
        image.info.pop("transparency", None)  # or convert() would use it, in some of the modes
        if image.mode == "CMYK":
            if image.format == "JPEG" and "adobe" not in image.info:
                image = ImageChops.invert(image)  # Pillow takes every one for Adobe's, inverted
            image = image.convert("RGB")  # from where there is a way to grey
        image = image.convert(mode)
    pixels = np.asarray(image)
    return pixels[:, :, None] if channels == 1 else pixels
