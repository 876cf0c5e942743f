"""What happens to the files of a folder, at once, as Linux tells it (inotify)."""

import ctypes
import os
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

_LIBC = ctypes.CDLL(None, use_errno=True)
_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_CREATED, _MODIFIED, _CLOSED, _MOVED_TO = 0x100, 0x2, 0x8, 0x80
_IS_FOLDER, _GONE = 0x40000000, 0x8000
_FOLDERS_ALONE = 0x01000000
_KINDS = {_CREATED: "created", _MODIFIED: "written", _CLOSED: "closed", _MOVED_TO: "moved"}


_WANTED = sum(_KINDS) | _FOLDERS_ALONE


class Event(NamedTuple):
    """Something that happened.

    Attributes:
      kind: ``'created'``, ``'written'``, ``'closed'`` (by one who could write), or ``'moved'``,
        which is what a rename is to the new name.
      path: what it happened to, within the watched folder.
      is_folder: whether that is a folder.
    """

    kind: str
    path: Path
    is_folder: bool


class Watch:
    """The events in a folder and in all folders within it, those to come included.

    Raises:
      OSError: the folder cannot be watched.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths: dict[int, Path] = {}
        self._found: set[Path] = set()  # listed, and perhaps to be announced by an event yet
        self._add(Path())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def events(self, seconds: float) -> Iterator[Event]:
        """Those there are, as they come, until so many seconds are over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._descriptor], [], [], left)[0]:
                return
            data = os.read(self._descriptor, 1 << 16)
            at = 0
            while at < len(data):
                watch, mask, _, length = _HEAD.unpack_from(data, at)
                name = data[at + _HEAD.size :][:length].rstrip(b"\0").decode()
                at += _HEAD.size + length
                yield from self._events(watch, mask, name)

    def _events(self, watch: int, mask: int, name: str) -> Iterator[Event]:
        if mask & _GONE:
            self._paths.pop(watch, None)
            return
        if watch not in self._paths:
            return
        path, is_folder = self._paths[watch] / name, bool(mask & _IS_FOLDER)
        for bit, kind in _KINDS.items():
            if mask & bit:
                if kind == "created" and path in self._found:
                    self._found.discard(path)
                else:
                    yield Event(kind, path, is_folder)
        if is_folder and mask & _CREATED:
            yield from self._made(path)
        elif is_folder and mask & _MOVED_TO:
            self._add(path)

    def _made(self, path: Path) -> Iterator[Event]:
        """Watches a new folder, and gives what was made in it before it was watched."""
        for entry in self._watch(path):
            inside = path / entry.name
            self._found.add(inside)
            is_folder = entry.is_dir(follow_symlinks=False)
            yield Event("created", inside, is_folder)
            if is_folder:
                yield from self._made(inside)

    def _add(self, path: Path) -> None:
        """Watches a folder that there was, perhaps under another name, and those within it."""
        for entry in self._watch(path):
            if entry.is_dir(follow_symlinks=False):
                self._add(path / entry.name)

    def _watch(self, path: Path) -> list[os.DirEntry[str]]:
        """Watches one folder, from now on under this name; gives what is in it."""
        place = self._folder / path
        watch = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(place), _WANTED)
        if watch < 0:
            if not path.parts:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(place))
            return []  # it is gone already
        self._paths[watch] = path
        try:
            return sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            return []
