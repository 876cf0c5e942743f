"""The user's own pictures: a folder for each split, in it a folder for each class."""

import bisect
import itertools
import os
from pathlib import Path

from jaxcnn.data.decode import LARGEST_FILE
from jaxcnn.data.sources import Example
from jaxcnn.errors import UserError, printable
from jaxcnn.files import read_bounded
from jaxcnn.progress import Progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class FolderSource:
    """The images ``ROOT/SPLIT/CLASS/*``, by class and then by name; a `jaxcnn.data.sources.Source`.

    The classes are the folders of ``ROOT/train``, sorted, and every split must have the same ones.
    Files that are not images by their suffix, and whatever begins with a dot, are passed over.
    Images count as colour, as the files of one folder often differ: grey ones are converted.

    Args:
      root: the folder that holds ``train``; ``~`` is expanded.
      split: the name of a folder in it; ``'validation'`` and ``'val'`` mean either.

    Raises:
      UserError: there is no such folder, a split has other classes than ``train``, or a class has
        no image, or a name with control characters or such as no text has.
    """

    channels = 3

    def __init__(self, root: str, split: str) -> None:
        self.name = root
        folder = _split_folder(Path(root).expanduser(), split)
        self.class_names = _class_names(folder)
        self._folder = os.fspath(folder)
        files = []
        with Progress(
            total=len(self.class_names), description=f"listing {folder}", unit="classes", delay=1
        ) as bar:
            for name in self.class_names:
                files.append(_images(folder / name))
                bar.advance(1)
        self._files = list(itertools.chain.from_iterable(files))
        self._ends = list(itertools.accumulate(map(len, files)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        label = bisect.bisect_right(self._ends, index)
        path = os.path.join(self._folder, self.class_names[label], self._files[index])
        return Example(read_bounded(path, LARGEST_FILE), label, path)


def _split_folder(root: Path, split: str) -> Path:
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(
            f"the data source {root} {problem}; give the name of a data set, "
            "or a folder that holds train/CLASS/*.jpg."
        )
    if not (root / "train").is_dir():
        if any(any(root.glob(f"{depth}dataset_info.json")) for depth in ("", "*/", "*/*/")):
            raise UserError(
                f"{root} was prepared by TFDS and is not folders of images; give the data set's "
                "name as the source, and the folder that TFDS prepared it in as data_dir."
            )
        raise UserError(f"{root} has no folder train; images belong in {root}/train/CLASS/*.jpg.")
    if "[" in split:
        raise UserError(
            f"'{split}' is a slice, which folders of images do not have; "
            f"move some of the images to {root}/validation/CLASS instead."
        )
    names = ("validation", "val") if split in ("validation", "val") else (split,)
    for name in names:
        if name and (root / name).is_dir():
            return root / name
    raise UserError(
        f"{root} has no split '{split}'; it has {', '.join(_folders(root))} "
        "(data.train_split, data.eval_split)."
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    """The classes of a split, checked against those of ``train`` beside it."""
    train = folder.parent / "train"
    expected, found = _folders(train), _folders(folder)
    if not expected:
        raise UserError(f"{train} has no classes; images belong in {train}/CLASS/*.jpg.")
    for name in expected:
        if name != printable(name):
            raise UserError(
                f"the class folder {train / name} has a name that cannot be printed as it is; "
                "rename it in every split."
            )
    for name in sorted(set(expected) ^ set(found)):
        has, lacks = (train, folder) if name in expected else (folder, train)
        raise UserError(
            f"{has} has a class '{name}' and {lacks} has none; every split needs the same classes."
        )
    return expected


def _folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in _entries(folder) if entry.is_dir()))


def _images(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in _entries(folder) if entry.name.lower().endswith(SUFFIXES)
    )
    if not names:
        raise UserError(
            f"the class folder {folder} has no images ({', '.join(SUFFIXES)}); "
            "add some, or remove the class from every split."
        )
    return names


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}).") from error
