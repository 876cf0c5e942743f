"""Files of weights, of whatever kind: arrays by name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained.bounded_file import BoundedFile
from jaxcnn.pretrained.refusal import Refusal, damaged

_LARGEST_HEADER = 100_000_000  # that the safetensors library reads
_SEEMS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the weights: run git lfs pull."),
    (b"<?xml", "is an XML page, as servers answer in place of a file: download it again."),
    (b"<", "is an HTML page, not weights: download it again."),
    (b"{", "is a JSON text, not weights: download the file that it describes."),
    (b"\x1f\x8b", "is compressed by gzip: unpack it first."),
    (b"bzh", "is compressed by bzip2: unpack it first."),
    (b"\xfd7zxz", "is compressed by xz: unpack it first."),
    (b"(\xb5/\xfd", "is compressed by zstd: unpack it first."),
    (b"\x93numpy", "is a single array of numpy, not a network's weights."),
)


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
      kind: whose format it is, and so whose names and layouts the tensors have.
      tensors: the arrays by name, in the file's order. PyTorch's may be views of one another, where
        the file's tensors were, and need not be contiguous. bfloat16 is ml_dtypes' type. Keras'
        names are ``'LAYER/VARIABLE'`` as `jaxcnn.pretrained.keras_files.read_keras` describes.
      metadata: text by name from the header of a safetensors file; else empty.
    """

    kind: Literal["torch", "safetensors", "keras"]
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def read_tensors(path: str | os.PathLike[str]) -> WeightFile:
    """Reads a file of weights; its content, not its name, says of what kind it is.

    PyTorch's ``.pth`` and ``.pt`` (the zip, and the older run of pickles), ``.safetensors``, and
    Keras' ``.h5`` and ``.weights.h5``. Neither PyTorch nor Keras is needed, no code in a file is
    run, and what is allocated is bounded by the file's size.

    Raises:
      UserError: the file cannot be read, or is none of these; it says what it seems to be.
    """
    try:
        with open(path, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            return _read(Path(path), BoundedFile(opened, size))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    except Refusal as refusal:
        raise UserError(f"{path} {refusal}") from refusal


# Each reader is imported where it is needed: a file of Keras needs no safetensors.
def _read(path: Path, file: BoundedFile) -> WeightFile:
    start = file.read(0, min(file.size, 512)).tobytes()
    header_bytes = int.from_bytes(start[:8], "little")
    if start.startswith(b"PK\x03\x04"):
        from jaxcnn.pretrained.torch_files import read_zip

        return WeightFile("torch", read_zip(file), {})
    if start[8:9] == b"{" and header_bytes < _LARGEST_HEADER:
        from jaxcnn.pretrained.safetensors_files import read_safetensors

        return WeightFile("safetensors", *read_safetensors(path))
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        from jaxcnn.pretrained.keras_files import read_keras

        return WeightFile("keras", read_keras(file), {})
    if start.startswith(b"\x80"):
        from jaxcnn.pretrained.torch_files import LEGACY_START, read_legacy

        if start.startswith(LEGACY_START):
            return WeightFile("torch", read_legacy(file), {})
        if LEGACY_START.startswith(start):
            raise damaged("ends where it has hardly begun")
        raise Refusal("is a pickle, but none of PyTorch's; it is not read, for it could run code.")
    raise Refusal(_what_it_seems(start))


def _what_it_seems(start: bytes) -> str:
    if not start:
        return "is empty: download or copy it again."
    if not any(start):
        return "begins with zeros where weights have a header: its download did not finish."
    if start[257:262] == b"ustar":
        return (
            "is a tar archive: unpack it, or, if the first versions of PyTorch wrote it, load it "
            "there and save it again."
        )
    text = start.lstrip().lower()
    return next(
        (sentence for beginning, sentence in _SEEMS if text.startswith(beginning)),
        "is no file of weights of PyTorch (.pth, .pt), safetensors or Keras (.h5).",
    )
