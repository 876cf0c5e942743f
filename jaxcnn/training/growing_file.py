"""A file that grows while others read it."""

import os
from pathlib import Path

from jaxcnn.files import writing


class GrowingFile:
    """A file that grows by whole pieces, each handed to the system in one write.

    Args:
      path: the file; what it holds stays.

    Raises:
      UserError: it cannot be written (every method).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def append(self, piece: bytes) -> None:
        """Adds a piece."""
        with writing(self._path):
            while piece:  # a disk that fills up takes a part, and refuses at the next call
                piece = piece[self._file.write(piece) :]

    def sync(self) -> None:
        """Returns when all pieces are on the disk itself."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Makes it last, and closes it."""
        with self._file:
            self.sync()
