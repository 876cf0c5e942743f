"""The SHA-256 of files, kept beside them in the form of ``sha256sum``."""

import hashlib
from pathlib import Path

from jaxcnn.files import write_atomically


class Checksums:
    """The checksums of the files of a folder, by name; what is noted is written at once.

    Attributes:
      known: the checksum of each file, as it was written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "checksums.sha256"
        self.known: dict[str, str] = {}
        if self._path.exists():
            lines = self._path.read_text(errors="replace").splitlines()
            self.known = {name: digest for digest, _, name in (li.partition("  ") for li in lines)}

    def add(self, path: Path) -> None:
        """Notes the checksum of a file that is whole."""
        self.known[path.name] = sha256(path)
        lines = (f"{digest}  {name}\n" for name, digest in sorted(self.known.items()))
        write_atomically(self._path, "".join(lines))


def sha256(path: Path) -> str:
    """The checksum of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
