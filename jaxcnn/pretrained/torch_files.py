"""PyTorch's files of weights, read without PyTorch.

Two forms: the zip of PyTorch 1.6 and later (a pickle ``data.pkl`` beside one member for each
storage), and the older run of pickles followed by the storages themselves, which
``vgg16-397923af.pth`` still is (``_load`` and ``_legacy_load`` in ``torch/serialization.py``).
Only the storages that the state dict names are read.
"""

import pickle
import re
import struct
import sys
import zipfile
import zlib
from typing import Any

import numpy as np

from jaxcnn.pretrained.bounded_file import BoundedFile
from jaxcnn.pretrained.refusal import Refusal, damaged, shown
from jaxcnn.pretrained.torch_tensors import (
    LARGEST_PICKLE,
    Storage,
    TorchPickles,
    arrays,
    state_dict,
)

_MAGIC_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LEGACY_START = pickle.dumps(_MAGIC_NUMBER, protocol=2)
_DESCRIPTION = re.compile(r"(^|/)data\.pkl$")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1


def read_zip(file: BoundedFile) -> dict[str, np.ndarray]:
    """The tensors of the newer form, by name in the state dict's order.

    Args:
      file: the file.

    Raises:
      Refusal: the file is no whole state dict of PyTorch.
    """
    try:
        members = {info.filename: info for info in zipfile.ZipFile(file.opened).infolist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise damaged("begins as a zip archive but lacks its end") from error
    folder = _folder(members)

    def content(name: str, length: int | None = None) -> np.ndarray:
        if folder + name not in members:
            raise damaged(f"lacks its part {shown(name)}")
        return _member(file, members[folder + name], length)

    tensors = state_dict(TorchPickles(content("data.pkl").tobytes()).read())
    order = "little"
    if f"{folder}byteorder" in members:
        order = content("byteorder").tobytes().decode("latin-1")
    if order not in ("little", "big"):
        raise damaged(f"gives its byte order as {shown(order)}")

    def stored(storage: Storage) -> np.ndarray:
        raw = content(f"data/{storage.key}", storage.nbytes)
        return raw if order == sys.byteorder else _swapped(raw, storage.dtype)

    return arrays(tensors, stored, file.size)


def _folder(members: dict[str, zipfile.ZipInfo]) -> str:
    """The folder of the archive that holds the parts: '' or a name and a slash."""
    folders = [name.removesuffix("data.pkl") for name in members if _DESCRIPTION.search(name)]
    if not folders:
        if "model.weights.h5" in members:
            raise Refusal(
                "is a whole model of Keras: load it there and save its weights alone with "
                "model.save_weights('NAME.weights.h5')."
            )
        raise Refusal("is a zip archive, but none of PyTorch's: it has no data.pkl.")
    if f"{folders[0]}constants.pkl" in members:
        raise Refusal(
            "is a TorchScript archive, a program with its weights: save the model's state_dict()."
        )
    return folders[0]


def _member(file: BoundedFile, info: zipfile.ZipInfo, length: int | None) -> np.ndarray:
    """The bytes of a member, which PyTorch never compresses: ``length`` of them, if given."""
    name = shown(info.filename)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        raise Refusal(f"holds {name} compressed or encrypted, as PyTorch never does: unpack it.")
    if length is not None and info.file_size != length:
        raise damaged(f"holds {info.file_size} bytes in {name} in place of {length}")
    header = file.read(info.header_offset, _LOCAL_HEADER.size).tobytes()
    signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise damaged(f"has no {name} where it says")
    start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    content = file.read(start, info.file_size)
    # PyTorch writes a zero where it was told not to compute the checksum.
    if info.CRC and zlib.crc32(content.data) != info.CRC:
        raise damaged(f"holds {name} with a wrong checksum")
    return content


def read_legacy(file: BoundedFile) -> dict[str, np.ndarray]:
    """The tensors of the older form, by name in the state dict's order.

    Args:
      file: the file.

    Raises:
      Refusal: the file is no whole state dict of PyTorch.
    """
    pickles = TorchPickles(file.read(0, min(file.size, LARGEST_PICKLE)).tobytes())
    magic, protocol, _ = (pickles.read() for _ in range(3))  # the third: sizes of C's types there
    if (magic, protocol) != (_MAGIC_NUMBER, _PROTOCOL):
        raise damaged("is of a form that PyTorch never wrote")
    tensors = state_dict(pickles.read())
    keys = pickles.read()
    if type(keys) is not list or not all(type(k) is str and k in pickles.storages for k in keys):
        raise damaged("does not hold the storages that it describes")
    starts, position = {}, pickles.position
    for storage in (pickles.storages[key] for key in keys):
        (count,) = file.read(position, 8).view("<i8")
        if count != storage.count:
            raise damaged(f"stores {count} numbers in place of {storage.count}")
        starts[storage.key] = position + 8
        position += 8 + storage.nbytes

    def stored(storage: Storage) -> np.ndarray:
        if storage.key not in starts:
            raise damaged("does not hold the storages that it describes")
        raw = file.read(starts[storage.key], storage.nbytes)
        return raw if sys.byteorder == "little" else _swapped(raw, storage.dtype)

    return arrays(tensors, stored, file.size)


def _swapped(content: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The same numbers in the other byte order."""
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    return content.view(f"u{width}").byteswap().view(np.uint8)
