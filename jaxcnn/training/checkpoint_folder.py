"""The folder that checkpoints lie in: which are there, and how one enters it and leaves it.

Each step is a rename, so that a process killed at any moment leaves what `tidy` puts in order:

  N              the checkpoint of step N: it was whole when it got this name
  N.unfinished   it is being written, and so is what Orbax gives a longer name than that
  N.replaced     the one before, while another one of the same step takes its name
  N.removed      it is being deleted
  N.damaged      it was found damaged and set aside; so were N.damaged.2 and so on. They stay.
"""

import contextlib
import shutil
from pathlib import Path

from jaxcnn.files import free_path
from jaxcnn.training import manifest

FOLDERS = ("checkpoints", "best")
"""Those of a work directory: of the newest states, and of the best one."""

UNFINISHED, DAMAGED = ".unfinished", ".damaged"
_REPLACED, _REMOVED = ".replaced", ".removed"
_ORBAX = ".orbax-checkpoint-tmp"


def steps_in(folder: Path) -> list[int]:
    """The steps that have a checkpoint in a folder, whole or not, oldest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir()]
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def holds_any(folder: Path) -> bool:
    """Whether a folder has a checkpoint, or will have one again when it is tidied."""
    return bool(steps_in(folder)) or any(folder.glob(f"[0-9]*{_REPLACED}"))


def damaged_in(folder: Path) -> list[Path]:
    """The damaged checkpoints that were set aside in a folder."""
    return sorted(folder.glob(f"[0-9]*{DAMAGED}*"))


def unfinished_in(folder: Path) -> list[Path]:
    """What is being written in a folder, or was when its process was killed."""
    found = {p for suffix in (UNFINISHED, _ORBAX) for p in folder.glob(f"[0-9]*{suffix}*")}
    return sorted(found)


def bytes_in(folder: Path) -> int:
    """What the files below a folder take, but for those that go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def enter(unfinished: Path) -> None:
    """Gives a checkpoint whose files are all there its manifest and then its name.

    One of the same step that has the name makes way, and is deleted afterwards.

    Raises:
      OSError: the file system does not take it.
    """
    manifest.write(unfinished)
    final = unfinished.with_suffix("")
    replaced = final.with_suffix(_REPLACED)
    if final.exists():
        final.rename(replaced)
    unfinished.rename(final)
    manifest.flush(final.parent)
    if replaced.exists():
        remove(replaced)


def remove(path: Path) -> None:
    """Deletes a checkpoint; from the first moment on it is none any more."""
    removed = free_path(path.with_suffix(_REMOVED))
    path.rename(removed)
    # What another program still reads may stay until the next `tidy`.
    shutil.rmtree(removed, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Renames a damaged checkpoint, out of the way of the one that will be made again."""
    path.rename(free_path(path.with_suffix(DAMAGED)))


def discard_unfinished(folder: Path) -> None:
    """Deletes what is half written, and what is half deleted."""
    for rubbish in (*unfinished_in(folder), *folder.glob(f"[0-9]*{_REMOVED}*")):
        shutil.rmtree(rubbish, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Puts a folder in order that a killed process left; nobody may be writing in it.

    Raises:
      OSError: the file system does not let it.
    """
    for replaced in folder.glob(f"[0-9]*{_REPLACED}"):
        final = replaced.with_suffix("")
        if final.exists() and manifest.damage(final) is not None:
            set_aside(final)
        if final.exists():
            remove(replaced)
        else:
            replaced.rename(final)
    discard_unfinished(folder)
