"""Whose a work directory is: one live run's at a time.

The run's process 0 holds a lock on a file in the folder, which the kernel releases however the
process ends, on shared disks (NFS) too. The file says whose it is, and goes when the run ends.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Self

from jaxcnn.errors import UserError
from jaxcnn.files import writing

LOCK = ".in-use"


class Ownership:
    """What this process owns: nothing yet, or one work directory until the end of the context."""

    def __init__(self) -> None:
        self._folder: int | None = None  # descriptors; that of a folder holds when it is renamed
        self._file: int | None = None
        os.register_at_fork(after_in_child=self._forget)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    def take(self, path: Path) -> bool:
        """Takes a folder, and lets go of the one that was taken before.

        Returns:
          False where it was taken already.

        Raises:
          UserError: it belongs to a live run, or nothing can be written in it.
        """
        with writing(path / LOCK), contextlib.ExitStack() as undo:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, folder)
            if self._folder is not None and os.path.sameopenfile(folder, self._folder):
                return False
            file = _locked(path, folder)
            undo.pop_all()
        self._release()
        self._folder, self._file = folder, file
        return True

    def _release(self) -> None:
        if self._folder is not None and self._file is not None:
            # Gone before it is free, so that nobody locks a file that is not there any more.
            with contextlib.suppress(OSError):
                os.unlink(LOCK, dir_fd=self._folder)
            self._forget()

    def _forget(self) -> None:
        """Closes the files; a process that was forked from this one must not hold the lock."""
        for descriptor in (self._file, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._folder = self._file = None


def refuse_if_owned(path: Path) -> None:
    """Raises a UserError when a folder belongs to a live run; it stays as it is."""
    with contextlib.suppress(OSError):  # no lock there, or none that could be held
        file = os.open(path / LOCK, os.O_RDWR)
        try:
            _lock(path, file)
        finally:
            os.close(file)


def _locked(path: Path, folder: int) -> int:
    """The descriptor of the lock's file, locked and saying that it is this process's."""
    while True:
        file = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666, dir_fd=folder)
        try:
            _lock(path, file)
            # The run that had it may have removed it between the two.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(LOCK, dir_fd=folder), os.fstat(file)):
                    owner = {
                        "host": socket.gethostname(),
                        "process": os.getpid(),
                        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                    }
                    os.ftruncate(file, 0)
                    os.pwrite(file, json.dumps(owner).encode(), 0)
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(path: Path, file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"the work directory {path} is in use by another run{_whose(file)}; wait for its end, "
            "stop it, or give another folder by --config.workdir=FOLDER."
        ) from None
    except OSError as error:
        print(
            f"Warning: {path / LOCK} cannot be locked here ({error.strerror}): see to it that no "
            "second run is given the same work directory.",
            file=sys.stderr,
        )


def _whose(file: int) -> str:
    """What the lock's file says, in words; nothing where it says nothing yet."""
    try:
        owner: dict[str, Any] = json.loads(os.pread(file, 1 << 12, 0))
        return f" (process {owner['process']} on {owner['host']}, since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
