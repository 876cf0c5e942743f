"""The checksums that every finished checkpoint carries, and what they say of it later.

``manifest/manifest.json`` in a checkpoint's folder holds the SHA-256 of every other file by its
path there, and under its own path that of those lines. It is written last: a folder without one was
never finished.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

NAME = "manifest/manifest.json"
_CHUNK = 1 << 20
_LARGEST = 1 << 26  # bytes of a manifest; one of a thousand processes' files is a hundredth of it


def write(folder: Path) -> None:
    """Writes the manifest of a folder that is otherwise complete, and makes all of it last.

    Raises:
      OSError: the file system does not take it.
    """
    checksums = {}
    for name, path in files(folder).items():
        checksums[name] = _checksum(path)
        flush(path)
    manifest = folder / NAME
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_bytes(_text(checksums | {NAME: _own_checksum(checksums)}))
    flush(manifest)
    for place in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        flush(place)


def damage(folder: Path) -> str | None:
    """What is wrong with the checkpoint in ``folder``, in a few words; None for nothing."""
    manifest = folder / NAME
    try:
        # The size first: what was damaged may have become of any.
        written = manifest.read_bytes() if manifest.stat().st_size <= _LARGEST else b""
    except FileNotFoundError:
        return "it has no manifest, so it was never finished"
    except OSError as error:
        return f"its file {NAME} cannot be read ({error.strerror})"
    checksums = _parsed(written)
    if checksums is None:
        return f"its file {NAME} has changed since it was written, or is of an earlier version"
    try:
        found = files(folder)
    except OSError as error:
        return f"its folder cannot be read ({error.strerror})"
    for name, checksum in checksums.items():
        try:
            if name not in found:
                return f"its file {name} is missing"
            if _checksum(found[name]) != checksum:
                return f"its file {name} has changed since it was written"
        except OSError as error:
            return f"its file {name} cannot be read ({error.strerror})"
    return None


def flush(path: Path) -> None:
    """Returns when a file, or the names in a folder, would survive a loss of power.

    Raises:
      OSError: the file system could not write it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no such thing for folders.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def files(folder: Path) -> dict[str, Path]:
    """Every file below a folder but its manifest, by its path within it."""
    paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    paths.pop(NAME, None)
    return paths


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _text(checksums: Mapping[str, str]) -> bytes:
    """The one form that a manifest has."""
    return json.dumps(checksums, indent=1, sort_keys=True).encode()


def _own_checksum(checksums: Mapping[str, str]) -> str:
    return hashlib.sha256(_text(checksums)).hexdigest()


def _parsed(written: bytes) -> dict[str, str] | None:
    """The checksums of the other files; None where a single byte is not as it was written."""
    try:
        checksums = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(checksums, dict) or _text(checksums) != written:
        return None
    own = checksums.pop(NAME, None)
    return checksums if own == _own_checksum(checksums) else None
