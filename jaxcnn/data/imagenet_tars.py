"""What lies where in the two tars of ILSVRC-2012, as image-net.org gives them out.

``ILSVRC2012_img_train.tar`` holds one tar for each class, ``n01440764.tar``, of its JPEGs;
``ILSVRC2012_img_val.tar`` holds the JPEGs of the validation set, whose labels TFDS ships. Neither
is compressed, so an image is some bytes at some offset, and nothing need be unpacked to read it.
"""

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow_datasets as tfds

from jaxcnn.data.decode import LARGEST_FILE
from jaxcnn.errors import UserError
from jaxcnn.progress import Progress

TARS = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}

# One row for each image: its file's name, its label, and where in the tar its bytes are.
IMAGE = np.dtype([("name", "S32"), ("label", "<i4"), ("offset", "<i8"), ("size", "<i8")])

_VALIDATION_LABELS = "datasets/imagenet2012/validation_labels.txt"  # one line for each image
_EMPTY = bytes(tarfile.BLOCKSIZE)  # the end of the files
_END = 2 * _EMPTY  # what every whole tar ends with


def find_tars(folder: Path) -> dict[str, Path]:
    """The tar of each split, whole to its end.

    Raises:
      UserError: one is missing, cannot be read, is not a tar, or is cut short.
    """
    tars = {split: folder / name for split, name in TARS.items()}
    missing = [path.name for path in tars.values() if not path.is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {' and '.join(missing)}; get what is missing from "
            "https://image-net.org/download-images and put it there."
        )
    for path in tars.values():
        try:
            with path.open("rb") as file:
                start = file.read(tarfile.BLOCKSIZE)
                file.seek(-min(len(_END), file.seek(0, os.SEEK_END)), os.SEEK_END)
                end = file.read()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
        if start[257:262] != b"ustar":
            raise UserError(f"{path} is not an uncompressed tar; get the file again.")
        if end != _END:
            raise UserError(f"{path} is cut short: no tar ends like it; get the file again.")
    return tars


def index_tar(path: Path, split: str, class_names: Sequence[str]) -> np.ndarray:
    """Every image of one of the tars, an array of `IMAGE` in the tar's order.

    Only headers are read, with a bar over the bytes stepped across.

    Raises:
      UserError: the tar is damaged, or holds what it should not.
    """
    labels = {name: label for label, name in enumerate(class_names)}
    size = path.stat().st_size
    with (
        path.open("rb", buffering=0) as file,
        Progress(total=size >> 20, description=f"indexing {path.name}", unit="MiB", delay=1) as bar,
    ):
        try:
            if split == "train":
                parts = _train_images(file, path, labels, bar)
            else:
                parts = _validation_images(file, path, labels, bar)
            images = np.concatenate(list(parts))
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}); get the file again.") from error
    if not len(images):
        raise UserError(f"{path} holds no images; get the file again.")
    if (largest := images[images["size"].argmax()])["size"] > LARGEST_FILE:
        raise UserError(
            f"{path} holds {largest['name'].decode()} with {largest['size']:,} bytes, more than an "
            "image has; get the file again."
        )
    return images


def kept_index(path: Path, tar_bytes: int) -> np.ndarray | None:
    """The index that an earlier call left in a file; None where there is none, or a damaged one."""
    try:
        images = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    if images.dtype != IMAGE or images.ndim != 1 or not len(images):
        return None
    sizes, offsets = images["size"], images["offset"]
    whole = (sizes >= 0) & (sizes <= tar_bytes) & (offsets >= 0) & (offsets <= tar_bytes - sizes)
    return images if whole.all() else None


def _train_images(
    file: IO[bytes], path: Path, labels: dict[str, int], bar: Progress
) -> Iterator[np.ndarray]:
    yield np.empty(0, IMAGE)
    for name, offset, size in _members(file, 0):
        synset = name.removesuffix(".tar")
        if synset not in labels:
            raise _stranger(path, name)
        rows = []
        for image, start, length in _members(file, offset):
            if start + length > offset + size:
                raise tarfile.ReadError(f"{name} has no end")
            if not re.fullmatch(rf"{synset}_[0-9]{{1,8}}\.JPEG", image):
                raise _stranger(path, f"{name}/{image}")
            rows.append((image.encode(), labels[synset], start, length))
        bar.reach((offset + size) >> 20)
        yield np.array(rows, IMAGE)


def _validation_images(
    file: IO[bytes], path: Path, labels: dict[str, int], bar: Progress
) -> Iterator[np.ndarray]:
    synsets = Path(tfds.core.tfds_path(_VALIDATION_LABELS)).read_text().split()
    yield np.empty(0, IMAGE)
    for name, offset, size in _members(file, 0):
        match = re.fullmatch(r"ILSVRC2012_val_([0-9]{8})\.JPEG", name)
        if match is None or not 1 <= int(match[1]) <= len(synsets):
            raise _stranger(path, name)
        bar.reach((offset + size) >> 20)
        label = labels[synsets[int(match[1]) - 1]]
        yield np.array([(name.encode(), label, offset, size)], IMAGE)


def _members(file: IO[bytes], start: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset in `file` and size of each file of the tar that begins at `start`.

    Header by header: `tarfile` itself would go back where a size is negative, without end, and
    would make room for a long name of any length.
    """
    position, end = start, os.fstat(file.fileno()).st_size
    while (block := os.pread(file.fileno(), tarfile.BLOCKSIZE, position)) != _EMPTY:
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no tar header at byte {position}") from error
        position += tarfile.BLOCKSIZE
        if not 0 <= member.size <= end - position:
            raise tarfile.ReadError(f"no room at byte {position} for {member.size} bytes")
        if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield os.path.basename(member.name), position, member.size
        position += -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _stranger(path: Path, name: str) -> UserError:
    return UserError(
        f"{path} holds {name}, which is no part of ILSVRC-2012 where it is; get the file again."
    )
