"""Random access to TFRecord files, without TensorFlow.

A TFRecord file is a run of records, each framed as
https://www.tensorflow.org/tutorials/load_data/tfrecord describes: the length of the data (8 bytes,
little-endian), the masked CRC-32C of those bytes (4), the data, and the masked CRC-32C of the data
(4). The format has no index, so one is made on first use by stepping from header to header, and is
kept in the user's cache folder, never beside the data, which may be read-only or shared.
"""

import bisect
import concurrent.futures
import hashlib
import io
import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import google_crc32c
import numpy as np

from jaxcnn.data.cache import cache_folder
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.progress import Progress

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4
_LARGEST_RECORD = 2**30  # twice the largest file of an image; a file with holes is larger for free
_INDEXING_THREADS = 16  # stepping from header to header waits for the disk, or for the network


class TFRecordWriter:
    """Writes a file of records; failures are ``OSError``."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115

    def write(self, record: bytes) -> None:
        """Adds a record."""
        length = _LENGTH.pack(len(record))
        for part in (length, _masked_checksum(length), record, _masked_checksum(record)):
            self._file.write(part)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def _masked_checksum(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    return _CHECKSUM.pack(((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


class FileInstruction(Protocol):
    """Which records of which file, as ``info.splits['train[:80%]'].file_instructions`` of TFDS."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class TFRecordFiles:
    """The records of some TFRecord files, in the files' order.

    Every read opens its file, reads at an offset and closes it: neither threads nor processes share
    a position, no number of files exhausts the process's descriptors, and pickling carries nothing
    but numbers and names.

    Args:
      instructions: which records of which files.

    Raises:
      UserError: a file is missing or damaged, or holds another number of records than
        `examples_in_shard` says.
    """

    def __init__(self, instructions: Sequence[FileInstruction]) -> None:
        self._paths = [os.fspath(instruction.filename) for instruction in instructions]
        indices = dict(zip(self._paths, _indices(self._paths), strict=True))
        for instruction, path in zip(instructions, self._paths, strict=True):
            if len(indices[path]) - 1 != instruction.examples_in_shard:
                raise UserError(
                    f"{path} holds {len(indices[path]) - 1} records where its data set's "
                    f"description says {instruction.examples_in_shard}; copy or prepare it again."
                )
        self._boundaries = [
            indices[path][instruction.skip : instruction.skip + instruction.take + 1]
            for instruction, path in zip(instructions, self._paths, strict=True)
        ]
        self._ends = list(itertools.accumulate(len(each) - 1 for each in self._boundaries))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        part = bisect.bisect_right(self._ends, index)
        boundaries = self._boundaries[part]
        record = index - self._ends[part] + len(boundaries) - 1
        start = int(boundaries[record]) + _HEADER.size
        length = int(boundaries[record + 1]) - _FOOTER_BYTES - start
        path = self._paths[part]
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(file, length, start)
            finally:
                os.close(file)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
        if len(data) != length:
            raise _damaged(path, start)
        return data


def count_records(path: Path) -> int:
    """How many records a file has.

    Raises:
      UserError: it is missing or damaged.
    """
    (index,) = _indices([os.fspath(path)])
    return len(index) - 1


def _indices(paths: Sequence[str]) -> Iterator[np.ndarray]:
    """The index of each file, ``(records + 1,)`` byte offsets, made where the cache has none."""
    folder = cache_folder("tfrecord-index")
    with concurrent.futures.ThreadPoolExecutor(_INDEXING_THREADS) as pool:
        futures = [pool.submit(_cached_index, path, folder) for path in paths]
        try:
            with Progress(
                total=len(paths), description="indexing TFRecord files", unit="files", delay=1
            ) as bar:
                for future in futures:
                    yield future.result()
                    bar.advance(1)
        finally:  # an error or Ctrl-C does not wait for the rest
            pool.shutdown(cancel_futures=True)


def _cached_index(path: str, folder: Path) -> np.ndarray:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    key = f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}"
    cached = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.npy"
    try:
        return np.load(cached)
    except (OSError, ValueError, EOFError):  # not made yet, or not to be trusted
        index = _index(path, status.st_size)
    content = io.BytesIO()
    np.save(content, index)
    write_atomically(cached, content.getvalue())
    return index


def _index(path: str, size: int) -> np.ndarray:
    """Where each record's header begins, and where the last record ends."""
    boundaries = [0]
    with open(path, "rb", buffering=0) as file:
        while (position := boundaries[-1]) < size:
            header = os.pread(file.fileno(), _HEADER.size, position)
            if len(header) < _HEADER.size:
                raise _damaged(path, position)
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum or length > _LARGEST_RECORD:
                raise _damaged(path, position)
            boundaries.append(position + _HEADER.size + length + _FOOTER_BYTES)
    if boundaries[-1] != size:
        raise _damaged(path, boundaries[-2])
    return np.array(boundaries, np.int64)


def _damaged(path: str, position: int) -> UserError:
    return UserError(
        f"{path} is damaged or cut short: no whole TFRecord at byte {position}; "
        "copy or prepare it again."
    )


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord's framing: CRC-32C (Castagnoli), rotated and offset.

    Plain Python, for the 8 bytes of a length: the data's own checksum is left to the image decoder.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
