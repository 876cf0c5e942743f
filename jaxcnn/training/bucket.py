"""A folder in a bucket (``gs://`` or ``s3://``): objects by their names, without renames.

An object is there whole or not at all, and its upload replaces the one before in one moment. That
is all that is relied on. ``gcsfs`` and ``s3fs`` do the work; they are installed by the extras
``gcs`` and ``s3``, and find the credentials as the tools of these clouds do.
"""

import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from jaxcnn.errors import UserError

# They print pages about an error that they also raise, and about a question that may be refused.
for _name in ("gcsfs", "s3fs", "fsspec"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_AT_ONCE = 8  # requests
_SMALL = 5 << 20  # bytes; gcsfs makes one request of a file that has fewer
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}  # by scheme
_ADDRESS = re.compile(r"(gs|s3)://[^/]+(/[^/]+)+/?")


class BucketError(UserError):
    """A bucket that cannot be reached, or does not let us."""


def is_address(place: str) -> bool:
    """Whether a place is named by an address, such as ``gs://bucket/run``, and not by a path."""
    return "://" in place


def check_address(name: str, address: str) -> None:
    """Raises a UserError for an address that is none of a folder in a bucket.

    Args:
      name: of the field that gives it.
      address: what is given.
    """
    if not _ADDRESS.fullmatch(address):
        raise UserError(
            f"{name}={address} is no folder in a bucket; give one such as gs://BUCKET/FOLDER or "
            "s3://BUCKET/FOLDER."
        )


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object as the list shows it.

    Attributes:
      size: bytes.
      written: when, in seconds of the store's clock; 0 where it does not say.
    """

    size: int
    written: float


class Bucket:
    """A folder in a bucket.

    Args:
      address: such as ``gs://bucket/folder``; of any scheme that fsspec knows.

    Raises:
      BucketError: the package for it is missing, or (every method) the store says no.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        scheme = address.partition("://")[0]
        import fsspec  # only where there is a bucket

        try:
            # Other machines write there: what a list said a moment ago is not remembered.
            self._store = fsspec.filesystem(scheme, use_listings_cache=False)
        except ImportError as error:
            package = _PACKAGES.get(scheme, scheme)
            raise BucketError(
                f"{self.address} needs the package {package} ({error}); install it by `pip install "
                f"{package}`."
            ) from error
        except Exception as error:
            raise self._refused(error) from error
        self._root = self._store._strip_protocol(self.address)
        self._is_google = scheme == "gs"

    def objects(self) -> dict[str, Stored]:
        """What lies in the folder and below it, by name within it."""
        with self._sentence():
            found = self._store.find(self._root, detail=True)
        # Some stores mark a folder by an object of its name.
        return {
            path.removeprefix(f"{self._root}/"): _stored(each)
            for path, each in found.items()
            if path.startswith(f"{self._root}/") and each["type"] == "file" and path[-1] != "/"
        }

    def read(self, name: str) -> bytes | None:
        """An object's bytes; None where there is no such object."""
        try:
            with self._sentence():
                return self._store.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Puts a small object, in the place of one of that name."""
        with self._sentence(missing=True):
            self._put_bytes(data, f"{self._root}/{name}")

    def upload(self, files: Mapping[str, Path]) -> None:
        """Puts files, several at once.

        Args:
          files: by the names that their objects get.

        Raises:
          FileNotFoundError: there is no such file (any more).
        """

        def put(name: str) -> None:
            try:
                with self._sentence():
                    self._put(files[name], f"{self._root}/{name}")
            except FileNotFoundError as error:
                if files[name].exists():  # it is the bucket that is missing
                    raise self._refused(error) from error
                raise

        _each(put, files)

    def _put(self, file: Path, place: str) -> None:
        """Uploads a file; what has arrived is compared with it."""
        if self._is_google and file.stat().st_size < _SMALL:
            self._put_bytes(file.read_bytes(), place)
        elif self._is_google:
            self._store.put_file(str(file), place, consistency="md5")
        else:  # s3fs sends a checksum along
            self._store.put_file(str(file), place)

    def _put_bytes(self, data: bytes, place: str) -> None:
        """The same of a few bytes."""
        if not self._is_google:
            self._store.pipe_file(place, data)
            return
        # gcsfs ends the one request that it makes of few bytes by a bare \n and a boundary: a last
        # \r would be a part of that, and the boundary may be in them. A chunk of them all makes it
        # a resumable upload, as of large files.
        self._store.pipe_file(place, data, chunksize=max(1, len(data)), consistency="md5")

    def download(self, files: Mapping[str, Path]) -> None:
        """Gets objects into files, whose folders are made, several at once.

        An object that is not there, or not any more, leaves no file.

        Args:
          files: by the names of the objects.
        """

        def get(name: str) -> None:
            files[name].parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._sentence():
                    self._store.get_file(f"{self._root}/{name}", str(files[name]))
            except FileNotFoundError:
                files[name].unlink(missing_ok=True)

        _each(get, files)

    def delete(self, names: Collection[str]) -> None:
        """Deletes objects, several at once; one that is gone already is no error."""

        def remove(name: str) -> None:
            with contextlib.suppress(FileNotFoundError), self._sentence():
                self._store.rm_file(f"{self._root}/{name}")

        _each(remove, names)

    def check_writable(self) -> None:
        """Raises a BucketError where nothing can be written, read or deleted."""
        name = f".writable-{time.time_ns()}"
        self.write(name, b"1")
        if self.read(name) != b"1":
            raise self._refused(OSError("what was written cannot be read"))
        self.delete([name])

    @contextlib.contextmanager
    def _sentence(self, *, missing: bool = False) -> Iterator[None]:
        """Makes one sentence of all that a store's client raises.

        Args:
          missing: whether that something is not there, such as the bucket, is one of them.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not missing:
                raise
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> BucketError:
        said = str(error).strip() or type(error).__name__
        return BucketError(
            f"{self.address} cannot be used ({said.splitlines()[0].rstrip('.')}); check the "
            "address, the credentials and the network."
        )


def _each(act: Callable[[str], None], names: Iterable[str]) -> None:
    """Does the same for each name, several at once: most of the time is waiting for answers."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(act, names):
            pass


def _stored(described: dict[str, object]) -> Stored:
    """Of what a store says of an object, each in its own words."""
    size = described["size"]
    assert isinstance(size, int)
    for key in ("LastModified", "mtime", "updated", "created"):
        when = described.get(key)
        if isinstance(when, str):
            when = datetime.fromisoformat(when)
        if isinstance(when, datetime):
            return Stored(size, when.timestamp())
    return Stored(size, 0.0)
