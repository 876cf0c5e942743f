"""The copying of a run into a bucket, while it goes on.

What lies in the bucket is made like the work directory, again and again, whatever came between:
nothing is remembered of an earlier start. The files of the work directory go first, so that the
records of a checkpoint are there before it is; then the best checkpoint, since the newest one says
that it is there; what is not in the work directory any more is deleted last.
"""

import contextlib
import dataclasses
import errno
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.training import manifest
from jaxcnn.training.bucket import Bucket
from jaxcnn.training.bucket_checkpoints import (
    DAMAGED,
    Copy,
    copies_of,
    delete,
    mark_of,
)
from jaxcnn.training.checkpoint_folder import FOLDERS, steps_in

CONFIG = "config.json"  # makes a folder a run's
RUN = "run.json"  # tells it from other runs, in the bucket too
RESULT = "result.json"  # says that the run is finished: the last to come, the first to go
HELD = ".bucket"  # in the work directory
_LOOK = 1.0  # seconds between two looks at the folders
_PATIENCE = 30.0  # seconds until what the store refused is tried again


@dataclasses.dataclass(frozen=True)
class _Held:
    """A checkpoint that is copied.

    Attributes:
      folder: ``'checkpoints'`` or ``'best'``.
      step: of it.
      path: where links to its files are, but for that of its manifest.
      manifest: that file's bytes.
    """

    folder: str
    step: int
    path: Path
    manifest: bytes

    @property
    def name(self) -> str:
        """What the names of its objects begin with."""
        return f"{self.folder}/{self.step}.{mark_of(self.manifest)}"


class Copying:
    """Copies a work directory into a bucket, in a thread of its own where it is started.

    Args:
      workdir: the folder of the run.
      bucket: the run's, and nobody else's.
      warn: is told in a sentence, from that thread, what could not be copied; it is tried again.
    """

    def __init__(self, workdir: Path, bucket: Bucket, warn: Callable[[str], None]) -> None:
        self._workdir = workdir
        self._bucket = bucket
        self._warn = warn
        self._copied: object = None
        self._files: dict[str, tuple[int, int]] = {}  # as they were when they were uploaded
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bucket", daemon=True)

    def start(self) -> None:
        """Begins to copy each checkpoint soon after it is written."""
        self._thread.start()

    def finish(self) -> None:
        """Returns when all is copied.

        Raises:
          BucketError: it could not be.
        """
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self.copy()

    def _watch(self) -> None:
        again = 0.0
        while not self._ending.wait(_LOOK):
            there = self._checkpoints()
            if there == self._copied or time.monotonic() < again:
                continue
            try:
                self.copy()
                self._copied = there
            except (UserError, OSError) as error:
                again = time.monotonic() + _PATIENCE
                self._warn(f"not all is copied to the bucket, and it is tried again: {error}")

    def _checkpoints(self) -> object:
        """What changes whenever a checkpoint comes or goes."""
        found = []
        for folder in FOLDERS:
            for step in steps_in(self._workdir / folder):
                with contextlib.suppress(FileNotFoundError):
                    status = (self._workdir / folder / str(step)).stat()
                    found.append((folder, step, status.st_ino, status.st_mtime_ns))
        return found

    def copy(self) -> None:
        """Makes the bucket like the work directory, once.

        Raises:
          BucketError: the store says no; what was there stays.
        """
        if not (self._workdir / CONFIG).exists():
            return  # it is no run yet
        if not (run := self._workdir / RUN).exists():
            write_atomically(run, json.dumps({"run": uuid.uuid4().hex}) + "\n")
        held = self._workdir / HELD
        shutil.rmtree(held, ignore_errors=True)  # a killed process's
        try:
            # Asked first: the checkpoints that are held then are those of the finished run.
            finished = (self._workdir / RESULT).exists()
            self._copy_held(self._hold(held), finished=finished)
        finally:
            shutil.rmtree(held, ignore_errors=True)

    def _hold(self, held: Path) -> list[_Held]:
        """Links to the files of the checkpoints as they are now, which the run may then delete."""
        found = []
        # In this order: the best one that the newest speaks of is there, or a later one.
        for folder in FOLDERS:
            for step in steps_in(self._workdir / folder):
                with contextlib.suppress(FileNotFoundError):  # it went, or has lost a file
                    path = held / folder / str(step)
                    found.append(_Held(folder, step, path, _linked(self._workdir, path)))
        return found

    def _copy_held(self, held: Sequence[_Held], *, finished: bool) -> None:
        objects = self._bucket.objects()
        if not finished and RESULT in objects:
            self._bucket.delete([RESULT])
        for path in sorted(self._workdir.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name != RESULT:
                self._copy_file(path)
        there = {copy.name: copy for copy in copies_of(objects)}
        for checkpoint in reversed(held):
            self._copy_checkpoint(checkpoint, there.get(checkpoint.name))
        kept = {checkpoint.name for checkpoint in held}
        for name, copy in there.items():
            if kept and name not in kept and not copy.damaged:
                delete(self._bucket, copy)
        if finished:
            self._copy_file(self._workdir / RESULT)

    def _copy_file(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # it went in this moment
            status = path.stat()
            if self._files.get(path.name) != (is_now := (status.st_size, status.st_mtime_ns)):
                self._bucket.upload({path.name: path})
                self._files[path.name] = is_now

    def _copy_checkpoint(self, held: _Held, copy: Copy | None) -> None:
        """Uploads a checkpoint, of which there is that much already."""
        if copy is not None and copy.whole:
            return
        files = manifest.files(held.path)
        self._bucket.upload({f"{held.name}/{file}": path for file, path in files.items()})
        self._bucket.write(f"{held.name}/{manifest.NAME}", held.manifest)
        if copy is not None and copy.damaged:  # it is as it was written now
            self._bucket.delete([f"{held.name}/{DAMAGED}"])


def _linked(workdir: Path, held: Path) -> bytes:
    """Links to the files of a checkpoint from a folder of the same name; gives its manifest.

    Raises:
      FileNotFoundError: it went meanwhile, or another one took its place, or it has lost a file.
    """
    checkpoint = workdir / held.parent.name / held.name
    written = (checkpoint / manifest.NAME).read_bytes()
    for file, path in manifest.files(checkpoint).items():
        (held / file).parent.mkdir(parents=True, exist_ok=True)
        try:
            (held / file).hardlink_to(path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            shutil.copyfile(path, held / file)  # of a file system without links
    # No two checkpoints have the same one, for Orbax notes the time in each.
    if (checkpoint / manifest.NAME).read_bytes() != written:
        raise FileNotFoundError(checkpoint)
    return written
