"""Little that says it is much: refused by what it says, before room is made or time is spent."""

import io
import json
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_sets import describe, imagenet_images, write_imagenet
from malformed_data import data_set
from PIL import Image
from safetensors.numpy import save_file

from jaxcnn.data.decode import LARGEST_FILE, LARGEST_IMAGE, decode
from jaxcnn.data.imagenet import prepare_imagenet
from jaxcnn.data.sources import open_source
from jaxcnn.data.tfrecord import TFRecordFiles, masked_crc32c
from jaxcnn.errors import UserError
from jaxcnn.pretrained import load_pretrained
from jaxcnn.pretrained.files import read_tensors
from jaxcnn.pretrained.naming import OURS
from jaxcnn.pretrained.saving import FORMAT_VERSION

# What Pillow says of images half as large as those that it refuses.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

MEBIBYTE = 2**20


def resident(field):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def cost(act):
    """The bytes of memory that an action takes at its peak, and its seconds of the processor."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = resident("VmRSS"), time.process_time()
    act()
    return resident("VmHWM") - before, time.process_time() - started


def refused(act):
    """The sentence that an action ends with, having cost next to nothing."""
    said = []

    def refuse():
        with pytest.raises(UserError) as error:
            act()
        said.append(str(error.value))

    memory, seconds = cost(refuse)
    assert memory < 64 * MEBIBYTE  # what is imported now included
    assert seconds < 3
    return said[0]


def small(form, **options):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 40)).save(file, form, **options)
    return bytearray(file.getvalue())


def png(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in parts:
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", zlib.crc32(name + content))
    return data


def jpeg(width, height, **options):
    data = small("JPEG", **options)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width, height):
    data = small("GIF")
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def gif_frame(width, height):
    """The screen is small, and the one picture on it is not."""
    data = small("GIF")
    picture = data.rindex(b"\x2c\0\0\0\0")
    data[picture + 5 : picture + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp(width, height):
    data = small("BMP")
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def ppm(width, height):
    return b"P6 %d %d 255\n" % (width, height) + bytes(1000)


def tiff(width, height, **options):
    data = small("TIFF", **options)
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257, 278):  # width, height, rows in a strip
            value = width if tag == 256 else height
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(data)


def deflated_tiff(width, height):
    return tiff(width, height, compression="tiff_adobe_deflate")


def webp(width, height):
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(content)) + content


def progressive(width, height):
    return jpeg(width, height, progressive=True)


HEADERS = [png, jpeg, progressive, gif, gif_frame, bmp, ppm, tiff, deflated_tiff, webp]


@pytest.mark.parametrize("needed", [None, 32])
@pytest.mark.parametrize("side", [60_000, 13_300])
@pytest.mark.parametrize("make", HEADERS)
def test_an_image_that_says_it_is_huge_is_refused(make, side, needed):
    data = make(side, side)
    assert len(data) < 2000
    said = refused(lambda: decode(data, 3, shorter_side=needed, name="bomb"))
    if make in (webp, gif_frame):  # which Pillow refuses for what they lack, or we for their size
        return
    assert said.startswith("'bomb' has more than the 67,108,864 pixels that are read; ")


@pytest.mark.parametrize("make", [gif, progressive])
def test_the_largest_image_takes_what_is_documented(make):
    side = round(LARGEST_IMAGE**0.5)
    assert "more than the" in refused(lambda: decode(make(side + 1, side), 3))
    read = []
    memory, _ = cost(lambda: read.append(decode(make(side, side), 3).shape))
    assert read == [(side, side, 3)]
    assert 400 * MEBIBYTE < memory < 700 * MEBIBYTE


def test_of_a_jpeg_what_counts_is_what_is_decoded():
    """A picture of 108 million pixels, as telephones make them."""
    data = jpeg(12_000, 9_000)
    memory, _ = cost(lambda: decode(data, 3, shorter_side=256))
    assert memory < 50 * MEBIBYTE
    assert decode(data, 3, shorter_side=256).shape == (1125, 1500, 3)
    assert "more than the" in refused(lambda: decode(data, 3))
    assert "more than the" in refused(lambda: decode(progressive(12_000, 9_000), 3, shorter_side=1))


def test_a_jpeg_that_goes_over_its_pixels_without_end_is_refused():
    file = io.BytesIO()
    Image.new("L", (4000, 4000), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    assert decode(data, 1, shorter_side=256).shape == (500, 500, 1)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert len(last) < 100
    bomb = data[:-2] + 1000 * last + data[-2:]
    said = refused(lambda: decode(bomb, 1, shorter_side=256))
    assert "it goes through its 16,000,000 pixels 1,006 times" in said


@pytest.mark.parametrize(
    ("name", "before"), [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")]
)
def test_what_stands_beside_the_pixels_is_not_unpacked_without_bound(name, before):
    packed = before + zlib.compress(bytes(100 * MEBIBYTE), 9)
    assert len(packed) < MEBIBYTE / 8
    refused(lambda: decode(png(16, 16, (name, packed)), 3))


# Files


@pytest.fixture
def pictures(tmp_path):
    path = tmp_path / "train" / "cat" / "0.jpg"
    path.parent.mkdir(parents=True)
    return path


def test_what_is_no_file_does_not_keep_its_reader(pictures):
    def said():
        source = open_source(str(pictures.parents[2] / "."), "train")
        return refused(lambda: source[0])

    os.mkfifo(pictures)
    assert said() == f"{pictures} cannot be read (it is no regular file)."
    pictures.unlink()
    pictures.symlink_to("/dev/zero")
    assert "no regular file" in said()
    pictures.unlink()
    pictures.mkdir()
    assert f"{pictures} cannot be read (" in said()
    pictures.rmdir()
    with pictures.open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room on the disk
    assert f"its 1,099,511,627,776 bytes are more than {LARGEST_FILE:,}" in said()


def framed(length):
    header = struct.pack("<Q", length)
    return header + struct.pack("<I", masked_crc32c(header))


@pytest.mark.parametrize("length", [2**40, 2**63 - 1, 2**64 - 1])
def test_a_record_is_not_read_beyond_its_file(length, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.tfrecord"
    with path.open("wb") as file:
        file.write(framed(length))
        file.truncate(min(2**40 + 16, 12 + length + 4))

    class Instruction:
        filename, skip, take, examples_in_shard = str(path), 0, 1, 1

    assert "is damaged" in refused(lambda: TFRecordFiles([Instruction])[0])


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    version, _ = data_set(tmp_path / "data", "array_record")
    return version


def test_a_description_of_endless_classes_is_refused(digits):
    features = json.loads((digits / "features.json").read_text())
    (digits / "label.labels.txt").unlink()
    features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = str(2**40)
    (digits / "features.json").write_text(json.dumps(features))
    said = refused(lambda: open_source("digits", "train", data_dir=str(digits.parents[1])))
    assert "1099511627776 classes by its description" in said


def test_a_description_of_files_elsewhere_is_refused(digits):
    def said():
        return refused(lambda: open_source("digits", "train", data_dir=str(digits.parents[1]))[0])

    shard = next(digits.glob("*-00000-of-*"))
    content = shard.read_bytes()
    shard.unlink()
    os.mkfifo(shard)
    assert "1 of the 2 files of digits are missing" in said()
    shard.unlink()
    shard.write_bytes(content)
    outside = digits.parent / shard.name
    shard.rename(outside)
    template = "../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    describe(digits, lambda info: info["splits"][0].update(filepathTemplate=template))
    assert "files of digits are missing" in said()


@pytest.mark.parametrize(
    "size", [b"77777777777", b"\x80" + bytes(3) + b"\x7f" * 8, b"\xff" * 12, b"\x80" + b"\xff" * 11]
)
@pytest.mark.parametrize("type_", [b"0", b"L", b"x", b"S"])
def test_a_tar_is_not_read_beyond_its_file(type_, size, tmp_path):
    write_imagenet(tmp_path, imagenet_images())
    path = tmp_path / "ILSVRC2012_img_val.tar"
    data = bytearray(path.read_bytes())
    data[124:136], data[156:157] = size.ljust(12, b"\0"), type_
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    assert f"{path} is damaged (no " in refused(
        lambda: prepare_imagenet(tmp_path, tmp_path / "data")
    )


def test_a_tar_with_a_hole_for_an_image_is_refused(tmp_path):
    write_imagenet(tmp_path, imagenet_images())
    path = tmp_path / "ILSVRC2012_img_val.tar"
    data = bytearray(path.read_bytes())
    data[124:136] = b"\x80" + (2**40).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data[:512])
    os.truncate(path, 512 + 2**40 + 1024)
    said = refused(lambda: prepare_imagenet(tmp_path, tmp_path / "data"))
    assert "1,099,511,627,776 bytes, more than an image has" in said


@pytest.mark.parametrize("length", [2, 2**20, 99_999_999, 2**63, 2**64 - 1])
def test_a_header_of_safetensors_is_not_longer_than_its_file(length, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"w":')
    refused(lambda: read_tensors(path))
    header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    refused(lambda: read_tensors(path))


def test_numbers_that_are_holes_take_no_room_before_they_are_refused(tmp_path):
    """Where a file says that it is large and is, its size is what bounds the memory."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    os.truncate(path, 2**40)
    assert "array of numpy" in refused(lambda: read_tensors(path))


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        ("resnet18", {"blocks": [3_000] * 4}),
        ("resnet20", {"blocks": [2**60]}),
        ("vgg11", {"groups": [[4, [3] * 3_000]]}),
        ("vgg11", {"hidden": [4] * 3_000}),
    ],
)
def test_a_network_of_endless_layers_is_refused(network, fields, tmp_path):
    path = tmp_path / "a.safetensors"
    header = {"format": OURS.name, "format_version": FORMAT_VERSION, "names": OURS.name}
    header |= {"model": network, "fields": json.dumps(fields)}
    save_file({"w": np.ones(2, "f4")}, path, header)
    said = refused(lambda: load_pretrained(network, path))
    assert "far more layers than its 1 arrays can be of" in said
