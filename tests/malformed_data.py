"""Images and data sets, in small, damaged and read: see ``malformed``."""

import contextlib
import io
import shutil
import zlib

import numpy as np
from data_sets import as_tfrecord, describe, imagenet_images, write_imagenet
from mutations import mutated, mutated_json
from PIL import Image

from jaxcnn.errors import UserError


def _encoded():
    """An image in every format and most of their forms, a kilobyte or two each."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
    picture = coarse.resize((40, 30), Image.Resampling.BICUBIC)
    deep = Image.fromarray(random.integers(0, 2**16, (30, 40), np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    forms = [
        ("JPEG", picture, {"exif": exif, "comment": b"a comment"}),
        ("JPEG", picture, {"progressive": True}),
        ("JPEG", picture, {"subsampling": 0, "restart_marker_blocks": 2}),
        ("JPEG", picture.convert("CMYK"), {}),
        ("JPEG", picture.convert("L"), {}),
        ("PNG", picture, {"icc_profile": bytes(300), "exif": exif}),
        ("PNG", picture.quantize(16), {"transparency": 3}),
        ("PNG", picture.convert("RGBA"), {}),
        ("PNG", deep, {}),
        ("GIF", picture.quantize(16), {"interlace": 1}),
        ("BMP", picture, {}),
        ("BMP", picture.quantize(16), {}),
        ("PPM", picture, {}),
        ("TIFF", picture, {}),
        ("TIFF", deep, {"compression": "tiff_lzw"}),
        ("TIFF", picture, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", picture, {"compression": "jpeg"}),
        ("WEBP", picture, {"lossless": True, "exif": exif}),
        ("WEBP", picture.convert("RGBA"), {}),
    ]
    files = []
    for form, image, options in forms:
        file = io.BytesIO()
        image.save(file, form, **options)
        files.append(file.getvalue())
    plain = b"P3 # in words\n4 2 255\n" + b"10 200 30 " * 8
    return [*files, plain]


def _with_checksums(data):
    """A PNG with right checksums, so that what is changed is read; other formats as they are."""
    if not data.startswith(b"\x89PNG"):
        return data
    data, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def images(folder):
    from jaxcnn.data.crops import AugmentConfig
    from jaxcnn.data.data_config import DataConfig
    from jaxcnn.data.pipeline import TrainBatches
    from jaxcnn.data.sources import open_source

    files = _encoded()
    path = folder / "train" / "cat" / "0.jpg"
    path.parent.mkdir(parents=True)
    path.touch()
    source = open_source(str(folder), "train")

    def trial(draw):
        path.write_bytes(_with_checksums(mutated(draw.choice(files), draw)))
        config = DataConfig(
            image_size=24, channels=draw.choice((1, 3)), on_error=draw.choice(("stop", "skip"))
        )
        batches = TrainBatches(source, config=config, augment=AugmentConfig(), batch_size=1, seed=0)
        batch = batches[0]
        assert batch["image"].shape[1:3] == (24, 24)
        if not batch["weight"].all():
            raise UserError("skipped.")

    return trial


def data_set(folder, file_format):
    """Eight digits as TFDS prepares them, in two files: their folder, and the records."""
    from jaxcnn.data.digits import prepared_digits
    from jaxcnn.data.sources import open_source

    version = folder / "digits" / "1.0.0"
    shutil.copytree(prepared_digits(), version)
    for old in version.glob("*array_record*"):
        old.unlink()
    digits = open_source("digits", "train")._records
    records = [[digits[4 * number + index] for index in range(4)] for number in range(2)]
    for number, each in enumerate(records):
        _write(version / f"digits-train.array_record-0000{number}-of-00002", each)

    def change(info):
        (info["splits"],) = ([s] for s in info["splits"] if s["name"] == "train")
        info["splits"][0]["shardLengths"] = ["4", "4"]

    describe(version, change)
    if file_format == "tfrecord":
        as_tfrecord(version, shards=2)
    return version, records


def _write(path, records):
    """A file of records, in the format that its name says."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorboardX.record_writer import RecordWriter

    if "array_record" in path.name:
        writer = ArrayRecordWriter(str(path), "group_size:1")
    else:
        path.unlink(missing_ok=True)
        writer = RecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()


def _read_data_set(folder):
    from jaxcnn.data.decode import decode
    from jaxcnn.data.sources import open_source

    source = open_source("digits", "train", data_dir=str(folder))
    for index in range(min(len(source), 8)):
        image, label, name = source[index]
        assert 0 <= label < len(source.class_names)
        decode(image, source.channels, name=name)


def records(file_format, folder):
    """The files of a data set's records, and whole files of damaged records."""
    version, whole = data_set(folder, file_format)
    shards = {path: path.read_bytes() for path in sorted(version.glob(f"*{file_format}-*"))}

    def trial(draw):
        number, path = draw.choice(list(enumerate(sorted(shards))))
        if draw.random() < 0.5:
            path.write_bytes(mutated(shards[path], draw))
        else:
            _write(path, [mutated(whole[number][0], draw), *whole[number][1:]])
        try:
            _read_data_set(folder)
        finally:
            path.write_bytes(shards[path])

    return trial


def descriptions(folder):
    """What stands beside the records: dataset_info.json, features.json and the labels."""
    version, _ = data_set(folder, "array_record")
    beside = [path for path in version.iterdir() if path.suffix in (".json", ".txt")]
    texts = {path: path.read_bytes() for path in beside}

    def trial(draw):
        path = draw.choice(sorted(texts))
        damage = mutated_json if path.suffix == ".json" else mutated
        path.write_bytes(damage(texts[path], draw))
        try:
            _read_data_set(folder)
        finally:
            path.write_bytes(texts[path])

    return trial


def tars(folder):
    """The two archives of ImageNet."""
    from jaxcnn.data.imagenet import prepare_imagenet
    from jaxcnn.data.sources import open_source

    write_imagenet(folder, imagenet_images())
    whole = {path: path.read_bytes() for path in sorted(folder.glob("*.tar"))}

    def trial(draw):
        path = draw.choice(sorted(whole))
        data = bytearray(whole[path])
        if draw.random() < 0.7:  # a field of a header, with a right checksum
            _change_header(data, draw)
            path.write_bytes(data)
        else:
            path.write_bytes(mutated(data, draw))
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                prepare_imagenet(folder, folder / "data", shards={"train": 2, "validation": 1})
                source = open_source("imagenet2012", "train", data_dir=str(folder / "data"))
            assert all(len(source[index].image) >= 0 for index in range(len(source)))
        finally:
            path.write_bytes(whole[path])
            shutil.rmtree(folder / "data", ignore_errors=True)

    return trial


def _change_header(data, draw):
    starts = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = draw.choice(starts)
    match draw.randrange(4):
        case 0:  # the name
            names = (b"../../../outside.tar", b"/outside", b"n01440764.tar\n", b"\xff" * 99, b"")
            data[at : at + 100] = draw.choice(names).ljust(100, b"\0")
        case 1:  # the size
            sizes = (b"77777777777", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"\x80" + bytes(11))
            data[at + 124 : at + 136] = draw.choice(sizes).ljust(12, b"\0")
        case 2:  # the type: links, devices, directories, long names, extended headers, holes
            data[at + 156 : at + 157] = draw.choice([*b"0123456LKxgS"]).to_bytes(1, "big")
        case 3:  # what a link points at
            data[at + 157 : at + 257] = b"../../../outside".ljust(100, b"\0")
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
