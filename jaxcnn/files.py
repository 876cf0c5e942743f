"""Files that are either written whole or not at all, and names that are not taken."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file so that a process killed at any moment leaves the old one or the new one.

    Raises:
      UserError: the file system does not take it; the old file is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def free_path(path: Path) -> Path:
    """A path that nothing has yet: this one, or it with ``.2``, ``.3`` and so on behind."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found
