"""What one process finds out about itself before a run, each look within a limit of time."""

import dataclasses
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax

from experiments.images import Data
from experiments.parts import Parts
from experiments.run import check_shared
from experiments.workdir import Workdir
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.sources import Source
from jaxcnn.errors import UserError
from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.collectives import computes, measure_all_reduce, sum_of_numbers

T = TypeVar("T")

_WRITTEN = 8 << 20  # bytes, to see how fast the disk takes them


@dataclasses.dataclass
class Examiner:
    """Looks at one thing after another, and notes what is wrong instead of ending the process.

    Attributes:
      timeline: for the other processes to know what this one is looking at.
      limit: seconds that a look may take.
      wrong: what is wrong, in sentences.
    """

    timeline: Timeline
    limit: float
    wrong: list[str] = dataclasses.field(default_factory=list)

    def look(self, what: str, work: Callable[[], T]) -> T | None:
        """What ``work`` finds; None where it raises a UserError or does not come to an end.

        Args:
          what: what is looked at, in words that begin a sentence.
          work: is left behind in a thread of its own where it takes too long.
        """
        found: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                found.append(work())
            except BaseException as error:  # for the thread that waits
                errors.append(error)

        thread = threading.Thread(target=run, name=what, daemon=True)
        with self.timeline.doing(Activity.START_UP, what):
            thread.start()
            thread.join(self.limit)
        if errors and not isinstance(errors[0], UserError):
            raise errors[0]
        if errors:
            self.wrong.append(str(errors[0]))
        elif not found:
            self.wrong.append(
                f"{what} has not come to an end within {self.limit:g} s (parallel.timeout)."
            )
        return found[0] if found else None


def devices_seen() -> dict[str, Any]:
    """This process's devices, which were seen to compute.

    Raises:
      UserError: one of them computes wrongly, or none is to be had.
    """
    try:
        devices = jax.local_devices()
        ill = [str(device) for device in devices if not computes(device)]
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"the devices do not work ({_first_line(error)}).") from error
    if ill:
        raise UserError(f"{', '.join(ill)} computes wrongly; run without this machine.")
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }


def gpus_there() -> int:
    """How many of NVIDIA's GPUs this machine shows, whoever uses them."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def splits_seen(data: Data, config: DataConfig) -> dict[str, dict[str, Any]]:
    """Of each split how many images and classes, and what is in three of them.

    Raises:
      UserError: one of the images cannot be read.
    """
    sources = {"train": data.train, "eval": data.eval}
    if data.test_batches is not None:
        sources["test"] = data.test_batches.source
    return {
        split: {
            "name": source.name,
            "split": getattr(config, f"{split}_split"),
            "images": len(source),
            "classes": len(source.class_names),
            "bytes": _fingerprint(source),
        }
        for split, source in sources.items()
    }


def _fingerprint(source: Source) -> str:
    """A hash of the classes' names and of the first, the middle and the last example."""
    digest = hashlib.sha256("\n".join(source.class_names).encode())
    for index in (0, len(source) // 2, len(source) - 1):
        example = source[index]
        digest.update(f"{example.label} {len(example.image)} ".encode() + example.image)
    return digest.hexdigest()


def disk_seen(workdir: Workdir, parts: Parts | None) -> dict[str, Any]:
    """The free bytes of the work directory's disk, and how many it takes in a second.

    Nothing of it is left behind: the file has no name.

    Raises:
      UserError: the folder is not for this run, or cannot take its checkpoints.
    """
    if parts is not None:
        workdir.inspect(state_bytes=parts.state_bytes)
    place = existing(workdir.path)
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            began = time.perf_counter()
            file.write(os.urandom(_WRITTEN))
            os.fsync(file.fileno())
            seconds = time.perf_counter() - began
        return {"free": shutil.disk_usage(place).free, "speed": _WRITTEN / seconds}
    except OSError as error:
        raise _not_taken(workdir.path, error) from error


def marked(path: Path) -> str:
    """The name of a folder that was made at a work directory, for the other processes to see.

    Raises:
      UserError: it cannot be made.
    """
    name = f".preflight-{time.time_ns()}"
    try:
        (existing(path) / name).mkdir()
    except OSError as error:
        raise _not_taken(path, error) from error
    return name


def mark_seen(path: Path, name: str) -> bool:
    """True where another process's mark is seen.

    Raises:
      UserError: it is not, so that the folder is another one here.
    """
    check_shared(path, existing(path) / name)
    return True


def existing(path: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _not_taken(path: Path, error: OSError) -> UserError:
    return UserError(
        f"the disk of the work directory {path} takes nothing ({error.strerror}); give another "
        "folder by --config.workdir=FOLDER."
    )


def sums_seen() -> dict[str, Any]:
    """How fast all devices together add up, which they were seen to do rightly.

    Raises:
      UserError: they do not.
    """
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    try:
        found, right = sum_of_numbers(devices)
        if found != right:
            raise UserError(
                f"the {len(devices)} devices add up the numbers 1 to {len(devices)} to {found:g} "
                f"instead of {right:g}; look at what connects the machines."
            )
        return measure_all_reduce(devices)._asdict()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the devices of all processes cannot add up ({_first_line(error)}); look at what "
            "connects the machines."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
