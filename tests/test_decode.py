import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageChops

from jaxcnn.data.decode import decode
from jaxcnn.errors import UserError


def picture(height=60, width=90):
    """A smooth picture in colour, which JPEG changes little."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image, form="PNG", **options):
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, form, **options)
    return stream.getvalue()


def luma(pixels):
    return (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]


def assert_near(pixels, expected, mean):
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected.astype(float)).mean() < mean


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_are_exact(form):
    np.testing.assert_array_equal(decode(encode(picture(), form), 3), picture())
    assert_near(decode(encode(picture(), form), 1), luma(picture()), 0.6)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg(options):
    data = encode(picture(), "JPEG", quality=95, **options)
    assert_near(decode(data, 3), picture(), 3)
    assert_near(decode(data, 1), luma(picture()), 1)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_grey_becomes_rgb_and_stays_grey(form):
    grey = Image.fromarray(picture()).convert("L")
    data = encode(grey, form)
    assert_near(decode(data, 1), np.asarray(grey)[..., None], 1.5)
    np.testing.assert_array_equal(decode(data, 3), np.repeat(decode(data, 1), 3, axis=-1))


def test_cmyk_jpeg_becomes_rgb():
    """Pillow writes CMYK as Adobe does: inverted, with Adobe's marker."""
    data = encode(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert_near(decode(data, 3), picture(), 3)
    assert_near(decode(data, 1), luma(picture()), 2)


def test_cmyk_jpeg_without_adobes_marker_is_not_inverted():
    inverted = ImageChops.invert(Image.fromarray(picture()).convert("CMYK"))
    data = encode(inverted, "JPEG", quality=95)
    start = data.index(b"\xff\xee")  # APP14, Adobe's
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    assert_near(decode(data[:start] + data[end:], 3), picture(), 3)


def test_cmyk_tiff_is_not_inverted():
    data = encode(Image.fromarray(picture()).convert("CMYK"), "TIFF")
    assert_near(decode(data, 3), picture(), 1)


def test_sixteen_bits_become_eight_by_their_high_byte():
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30), np.uint16)
    expected = (deep >> 8)[..., None]
    np.testing.assert_array_equal(decode(encode(deep), 1), expected)
    np.testing.assert_array_equal(decode(encode(deep), 3), np.repeat(expected, 3, axis=-1))
    deep = np.random.default_rng(0).integers(0, 2**16, (20, 30, 3), np.uint16)
    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()  # Pillow cannot write it
    np.testing.assert_array_equal(decode(data, 3), deep >> 8)


def test_alpha_is_dropped():
    alpha = np.random.default_rng(1).integers(0, 256, (60, 90, 1), np.uint8)
    data = encode(np.concatenate([picture(), alpha], axis=-1))
    np.testing.assert_array_equal(decode(data, 3), picture())
    grey = np.asarray(Image.fromarray(picture()).convert("L"))[..., None]
    data = encode(np.concatenate([grey, alpha], axis=-1))
    np.testing.assert_array_equal(decode(data, 1), grey)
    np.testing.assert_array_equal(decode(data, 3), np.repeat(grey, 3, axis=-1))


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palettes_become_rgb(form):
    image = Image.fromarray(picture()).quantize(64)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(encode(image, form), 3), expected)
    transparent = encode(image, form, transparency=3)
    np.testing.assert_array_equal(decode(transparent, 3), expected)
    if form == "PNG":
        transparent = encode(image, form, transparency=bytes(range(64)))
        np.testing.assert_array_equal(decode(transparent, 3), expected)
        assert_near(decode(transparent, 1), luma(expected), 0.6)


def test_the_exif_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encode(picture(), "JPEG", exif=exif)
    assert decode(data, 3).shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("needed", "height"), [(None, 400), (201, 400), (200, 200), (101, 200), (100, 100), (3, 50)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_is_decoded_no_larger_than_needed(needed, height, channels):
    data = encode(picture(400, 600), "JPEG", quality=95)
    pixels = decode(data, channels, shorter_side=needed)
    assert pixels.shape == (height, height * 3 // 2, channels)
    whole = cv2.resize(picture(400, 600), pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert_near(pixels, whole if channels == 3 else luma(whole), 3)


def test_a_reduced_size_is_rounded_up():
    data = encode(picture(375, 501), "JPEG")
    assert decode(data, 3, shorter_side=187).shape == (188, 251, 3)


def test_a_png_is_decoded_whole():
    assert decode(encode(picture()), 3, shorter_side=10).shape == (60, 90, 3)


BAD = {
    "empty": b"",
    "text": b"<html>404</html>",
    "jpeg cut in its header": encode(picture(), "JPEG")[:100],
    "jpeg cut in its data": encode(picture(), "JPEG")[:-400],
    "png cut in its header": encode(picture())[:20],
    "png cut in its data": encode(picture())[:-400],
    "png with a wrong checksum": encode(picture()).replace(b"IDAT", b"IDAT\0\0", 1),
    "floating point": encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_no_image_is_refused_by_name(kind, channels):
    with pytest.raises(UserError) as error:
        decode(BAD[kind], channels, name="train/cat/7.jpg")
    message = str(error.value)
    assert message.startswith("'train/cat/7.jpg' ")
    assert message.endswith("--config.data.on_error=skip.")
    assert "\n" not in message
    assert "0x" not in message  # the same words every time


def with_damaged_exif():
    """A JPEG whose EXIF data, where its resolution should be, end too early."""
    exif = Image.Exif()
    exif[0x011A] = 72.0
    data = encode(picture(), "JPEG", exif=exif.tobytes()[:20])
    start = data.index(b"\xff\xe0")  # APP0, where the resolution would be found first
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return data[:start] + data[end:]


@pytest.mark.filterwarnings("always")
def test_damaged_exif_data_are_something_pillow_warns_of():
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        decode(with_damaged_exif(), 3)


def test_damaged_images_leave_the_terminal_alone():
    """libjpeg and libpng write to the file descriptor of stderr, which only a process can show."""
    program = """
import random
from test_decode import decode, encode, picture, with_damaged_exif, UserError
decode(with_damaged_exif(), 3)
refused = 0
for form in ("JPEG", "PNG"):
    whole = encode(picture(), form)
    draw = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 9)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            decode(bytes(data), 3)
        except UserError:
            refused += 1
print(refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=__file__.rpartition("/")[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert 100 < int(done.stdout) < 600
