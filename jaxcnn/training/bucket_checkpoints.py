"""How a run lies in a bucket, where nothing can be renamed, and how it is fetched from there.

  run.json, config.json, metrics.jsonl, ...   the files of its work directory
  checkpoints/STEP.MARK/..., best/...         its checkpoints, file by file

The mark is a part of the manifest's checksum, so that two checkpoints of one step lie side by side.
The manifest is uploaded last and deleted first: a copy without one is unfinished, or half deleted.
A copy that was found damaged gets one more object, DAMAGED, that says how; it stays.
"""

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from jaxcnn.training import checkpoint_folder, manifest
from jaxcnn.training.bucket import Bucket, Stored

DAMAGED = "DAMAGED"
_COPY = re.compile(r"(checkpoints|best)/(0|[1-9]\d*)\.([0-9a-f]{12})/(.+)")


def mark_of(manifest_bytes: bytes) -> str:
    """What tells a checkpoint from others of its step."""
    return hashlib.sha256(manifest_bytes).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Copy:
    """A checkpoint in a bucket.

    Attributes:
      folder: ``'checkpoints'`` or ``'best'``.
      step: the steps that its state has seen.
      mark: as `mark_of` gives it.
      objects: its files, by their path within it.
    """

    folder: str
    step: int
    mark: str
    objects: Mapping[str, Stored]

    @property
    def name(self) -> str:
        """What the names of its objects begin with."""
        return f"{self.folder}/{self.step}.{self.mark}"

    @property
    def damaged(self) -> bool:
        """Whether it was found so."""
        return DAMAGED in self.objects

    @property
    def whole(self) -> bool:
        """Whether all of it was uploaded, and it was not found damaged since."""
        return manifest.NAME in self.objects and not self.damaged

    @property
    def written(self) -> float:
        """When the last of it was, in seconds of the store's clock."""
        return max(each.written for each in self.objects.values())


def copies_of(objects: Mapping[str, Stored]) -> list[Copy]:
    """The checkpoints among a bucket's objects, by folder and from old to new."""
    found: dict[tuple[str, int, str], dict[str, Stored]] = {}
    for name, stored in objects.items():
        if match := _COPY.fullmatch(name):
            folder, step, mark, file = match.groups()
            found.setdefault((folder, int(step), mark), {})[file] = stored
    copies = [Copy(*key, each) for key, each in found.items()]
    return sorted(copies, key=lambda copy: (copy.folder, copy.step, copy.written))


def files_of(objects: Mapping[str, Stored]) -> list[str]:
    """The names of the files of the work directory among a bucket's objects."""
    return sorted(name for name in objects if "/" not in name and not name.startswith("."))


def fetch(bucket: Bucket, copy: Copy, into: Path) -> str | None:
    """Downloads a checkpoint and gives it its name in a folder of checkpoints, if it is whole.

    One of that step that is damaged there is set aside.

    Args:
      bucket: where it lies.
      copy: which one.
      into: the folder.

    Returns:
      What is wrong with it, in a few words, where it is not whole; None for nothing.
    """
    unfinished = into / f"{copy.step}{checkpoint_folder.UNFINISHED}"
    download(bucket, copy, unfinished)
    wrong = manifest.damage(unfinished)
    if wrong is not None:
        shutil.rmtree(unfinished)
        return wrong
    final = unfinished.with_suffix("")
    if final.exists():
        checkpoint_folder.set_aside(final)
    checkpoint_folder.enter(unfinished)
    return None


def download(bucket: Bucket, copy: Copy, folder: Path) -> None:
    """Downloads what there is of a checkpoint into a folder, which gets the time of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What another process deletes meanwhile is then missing here.
    files = [file for file in copy.objects if file != DAMAGED and _inside(file)]
    bucket.download({f"{copy.name}/{file}": folder / file for file in files})
    os.utime(folder, (copy.written, copy.written))


def delete(bucket: Bucket, copy: Copy) -> None:
    """Deletes a checkpoint; from the first moment on it is none any more."""
    bucket.delete([f"{copy.name}/{manifest.NAME}"])
    bucket.delete([f"{copy.name}/{file}" for file in copy.objects if file != manifest.NAME])


def say_damaged(bucket: Bucket, copy: Copy, wrong: str) -> str:
    """Marks a checkpoint as damaged; gives the sentence for the user."""
    bucket.write(f"{copy.name}/{DAMAGED}", f"{wrong}\n".encode())
    return f"the checkpoint {bucket.address}/{copy.name} is damaged: {wrong}."


def fetch_files(bucket: Bucket, names: Collection[str], into: Path) -> None:
    """Downloads files of the work directory, each whole or not at all."""
    unfinished = {name: into / f".{name}.{os.getpid()}.tmp" for name in names}
    bucket.download(unfinished)
    for name, path in unfinished.items():
        if path.exists():  # a result may have gone meanwhile
            path.replace(into / name)


def _inside(file: str) -> bool:
    """Whether the name of an object is a path that leads nowhere else."""
    return not any(part in ("", ".", "..") for part in file.split("/"))
