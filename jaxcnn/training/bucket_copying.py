"""The copying of a run into a bucket, while it goes on.

What lies in the bucket is made like the work directory, again and again, whatever came between:
nothing is remembered of an earlier start. The files of the work directory go first, so that the
records of a checkpoint are there before it is; then the best checkpoint, since the newest one says
that it is there; what is not in the work directory any more is deleted last.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.training import manifest
from jaxcnn.training.bucket import Bucket
from jaxcnn.training.bucket_checkpoints import (
    DAMAGED,
    FOLDERS,
    Copy,
    copies_of,
    delete,
    mark_of,
)
from jaxcnn.training.checkpoint_folder import steps_in

CONFIG = "config.json"  # makes a folder a run's
RUN = "run.json"  # tells it from other runs, in the bucket too
RESULT = "result.json"  # says that the run is finished: the last to come, the first to go
_LOOK = 1.0  # seconds between two looks at the folders
_PATIENCE = 30.0  # seconds until what the store refused is tried again


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
        before = self._checkpoints()
        # In this order: the best one that the newest speaks of is on the list, or a later one.
        steps = {folder: steps_in(self._workdir / folder) for folder in FOLDERS}
        finished = (self._workdir / RESULT).exists()
        objects = self._bucket.objects()
        if not finished and RESULT in objects:
            self._bucket.delete([RESULT])
        for path in sorted(self._workdir.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.name != RESULT:
                self._copy_file(path)
        there = {copy.name: copy for copy in copies_of(objects)}
        kept: dict[str, tuple[str, int]] = {}
        for folder in reversed(FOLDERS):
            for step in steps[folder]:
                if (name := self._copy_checkpoint(folder, step, there)) is not None:
                    kept[name] = (folder, step)
        unchanged = self._checkpoints() == before
        for name, copy in there.items():
            later = any(f == copy.folder and step >= copy.step for f, step in kept.values())
            if name not in kept and not copy.damaged and (later or (kept and unchanged)):
                delete(self._bucket, copy)
        if finished:
            self._copy_file(self._workdir / RESULT)

    def _copy_file(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # it went in this moment
            status = path.stat()
            if self._files.get(path.name) != (is_now := (status.st_size, status.st_mtime_ns)):
                self._bucket.upload({path.name: path})
                self._files[path.name] = is_now

    def _copy_checkpoint(self, folder: str, step: int, there: Mapping[str, Copy]) -> str | None:
        """Uploads a checkpoint that is not there yet; gives its name there.

        None where the run deletes it meanwhile or puts another one in its place, or where it has
        lost a file.
        """
        checkpoint = self._workdir / folder / str(step)
        try:
            written = (checkpoint / manifest.NAME).read_bytes()
            name = f"{folder}/{step}.{mark_of(written)}"
            copy = there.get(name)
            if copy is not None and copy.whole:
                return name
            files = manifest.files(checkpoint)
            self._bucket.upload({f"{name}/{file}": path for file, path in files.items()})
            # No two checkpoints have the same one, for Orbax notes the time in each.
            if (checkpoint / manifest.NAME).read_bytes() != written:
                return None
        except FileNotFoundError:
            return None
        self._bucket.write(f"{name}/{manifest.NAME}", written)
        if copy is not None and copy.damaged:  # it is as it was written now
            self._bucket.delete([f"{name}/{DAMAGED}"])
        return name
