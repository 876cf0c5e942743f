"""Files: written whole or not at all, under free names, read without waiting or without end."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes of any failure of the file system inside it (full, read-only, ...) a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); mend that, or write to another folder."
        ) from error


def _beside(path: Path, ending: str) -> Path:
    """What a file or a folder is called while it is written."""
    if not path.name:
        raise UserError(f"'{path}' names no file or folder that can be written; give it a name.")
    return path.with_name(f".{path.name}.{os.getpid()}.{ending}")


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file so that a process killed at any moment leaves the old one or the new one.

    Raises:
      UserError: the file system does not take it; the old file is as it was.
    """
    unfinished = _beside(path, "tmp")
    with writing(path):
        try:
            with unfinished.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``path``, and of what is there, at the end.

    Raises:
      UserError: the file system does not take it; what was there is as it was, or gone.
    """
    unfinished = _beside(path, "unfinished")
    with writing(path):
        unfinished.mkdir(parents=True)
    try:
        yield unfinished
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_object(path: Path) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Raises:
      OSError: the file cannot be read.
      ValueError: it holds something else; the text says what, in a few words.
    """
    return parse_object(path.read_bytes())


def parse_object(data: bytes) -> dict[str, Any]:
    """The object that the bytes of JSON are.

    Raises:
      ValueError: they are something else; the text says what, in a few words.
    """
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file; of a pipe or a device there would never be an end.

    Args:
      path: the file; a link is followed.
      most: how many bytes it may have.

    Raises:
      UserError: it cannot be read, is no regular file, or is larger.
    """
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path} cannot be read (it is no regular file).")
            if status.st_size > most:
                raise UserError(
                    f"{path} is not read, for its {status.st_size:,} bytes are more than {most:,}."
                )
            return file.read(status.st_size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a pipe, too, to which nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def free_path(path: Path) -> Path:
    """A path that nothing has yet: this one, or it with ``.2``, ``.3`` and so on behind."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
