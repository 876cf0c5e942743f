"""The files of a data set in the making: each is kept when whole, whatever stops the work.

They are written in a folder that takes the data set's name when all is done, each under another
name than its own until it is whole. The same call goes on with the files that are missing.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from jaxcnn.data.tfrecord import TFRecordWriter
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.progress import Progress

ORIGIN = "origin.json"
"""The name of the file that says what the work was begun with."""

_SPARE_BYTES = 1 << 30  # room to leave on the disk


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps every other process from working in it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is writing {folder}; wait for it to end.") from error
        except OSError:  # a network drive without locks
            pass
        yield
    finally:
        os.close(descriptor)


def forget_other_work(folder: Path, origin: Mapping[str, Any]) -> None:
    """Empties the folder unless the work in it was begun with just this origin."""
    record, text = folder / ORIGIN, json.dumps(origin)
    if record.exists() and record.read_text() == text:
        return
    for path in folder.iterdir():
        path.unlink()
    write_atomically(record, text)


def check_room(folder: Path, needed: int) -> None:
    """Raises `UserError` where the folder's disk has no room for so many bytes and some more."""
    free = shutil.disk_usage(folder).free
    if needed and free < needed + _SPARE_BYTES:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.1f} GB of room and needs "
            f"{(needed + _SPARE_BYTES) / 1e9:.1f}; make room, or give another --data_dir."
        )


def write_records(
    path: Path, records: Iterable[bytes], bar: Progress, *, options: str = "group_size:1"
) -> None:
    """Writes a file of records that has its name when it is whole.

    Args:
      path: the file; with ``.tfrecord-`` in its name it is a TFRecord, and else an array_record.
      records: its records; each is counted.
      bar: counts them.
      options: array_record's; with groups of one, a record is read alone.

    Raises:
      UserError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        writer: Any
        if ".tfrecord-" in path.name:
            writer = TFRecordWriter(os.fspath(part))
        else:
            writer = ArrayRecordWriter(os.fspath(part), options)
        for record in records:
            writer.write(record)
            bar.advance(1)
        writer.close()
    except RuntimeError as error:  # which array_record makes of an OSError
        raise unwritable(part, str(error).split(";")[0]) from error
    with part.open("rb") as file:  # on the disk before its name says that it is whole
        os.fsync(file.fileno())
    os.rename(part, path)


def unwritable(path: str | Path, reason: str) -> UserError:
    """What to say of a file or folder that cannot be written."""
    return UserError(
        f"{path} cannot be written ({reason}); mend that and give the same command again: "
        "it continues with what is missing."
    )
