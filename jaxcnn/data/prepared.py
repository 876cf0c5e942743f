"""Data sets that TFDS prepared, read without TensorFlow from array_record or tfrecord files."""

import bisect
import functools
import itertools
import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from jaxcnn.data.description import first_line, image_and_label, read_info
from jaxcnn.data.digits import prepared_digits
from jaxcnn.data.example_bytes import image_and_label_of
from jaxcnn.data.sources import Example
from jaxcnn.data.tfrecord import FileInstruction, TFRecordFiles
from jaxcnn.errors import UserError, unknown_name

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
READERS = {"array_record": ArrayRecordDataSource, "tfrecord": TFRecordFiles}
"""What reads the files of each format, the preferred one first."""


class PreparedSource:
    """One split of a data set in TFDS's layout on disk; a `jaxcnn.data.sources.Source`.

    The examples come in the order of the files, which both formats share: what
    ``'train[:80%]'`` names is the same in either.

    Args:
      name: the data set: ``'NAME'``, ``'NAME/CONFIG'``, either with ``':VERSION'``; the newest
        version on disk if that is left out.
      split: one of the data set's splits, or a slice as TFDS writes it.
      data_dir: where the data set was prepared; None as in `default_data_dir`.

    Raises:
      UserError: the data set is unknown, not there, damaged, without images and labels, in a
        format without random access, or without that split.
    """

    def __init__(self, name: str, split: str, *, data_dir: str | None = None) -> None:
        folder = version_folder(name, data_dir)
        info, file_format = read_info(folder, READERS)
        image, label = image_and_label(name, info.features)
        self.name = name
        self.class_names = tuple(label.names)
        self.channels = 1 if image.shape[-1] == 1 else 3
        self._split = split
        instructions = _file_instructions(name, split, info, folder)
        allow_open_files(len(instructions))
        self._records = READERS[file_format](instructions)
        self._paths = [os.fspath(instruction.filename) for instruction in instructions]
        self._ends = list(itertools.accumulate(each.take for each in instructions))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        image, label = self.read(index)
        name = self._called(index)
        if not 0 <= label < len(self.class_names):
            raise UserError(
                f"{name} has no label ({label}); the split '{self._split}' cannot be trained on."
            )
        return Example(image, label, name)

    def read(self, index: int) -> tuple[bytes, int]:
        """An image and its label, which may be none of the classes: -1 where it is not known."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        try:
            return image_and_label_of(self._records[index])
        except UserError:
            raise
        except Exception as error:  # of array_record and of protobuf: RuntimeError, DecodeError
            path = self._paths[bisect.bisect_right(self._ends, index)]
            raise UserError(
                f"{self._called(index)} cannot be read from {path} ({first_line(error)}); "
                "copy or prepare the data set again."
            ) from error

    def _called(self, index: int) -> str:
        return f"{self.name} {self._split} example {index}"


def default_data_dir() -> Path:
    """Where TFDS prepares its data sets: ``$TFDS_DATA_DIR``, or ``~/tensorflow_datasets``."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _root(data_dir: str | None) -> Path:
    return default_data_dir() if data_dir is None else Path(data_dir).expanduser()


@functools.cache
def _known_names() -> tuple[str, ...]:
    # Without the community's data sets, whose list TFDS would fetch from the network.
    return tuple(tfds.list_builders(with_community_datasets=False))


def is_name(name: str, data_dir: str | None) -> bool:
    """Whether this is the name of a data set: one that TFDS knows, or one in the data directory."""
    match = _NAME.fullmatch(name)
    return match is not None and (
        match["name"] in _known_names() or (_root(data_dir) / match["name"]).is_dir()
    )


def check_known(name: str) -> None:
    """Refuses a name that is not that of a data set, or of its configuration.

    Raises:
      UserError: there is none of that name; the nearest is suggested.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["name"] not in _known_names():
        raise unknown_name("data set", name, _known_names())
    if match["config"] is not None:
        configs = tfds.builder_cls(match["name"]).builder_configs
        if match["config"] not in configs:
            raise unknown_name(f"configuration of {match['name']}", match["config"], configs)


def is_prepared(name: str, data_dir: str | None) -> bool:
    """Whether `PreparedSource` finds the data set.

    Raises:
      UserError: its folder cannot be read, or holds several configurations.
    """
    match = _NAME.fullmatch(name)
    return match is not None and bool(_versions_of(match, data_dir))


def version_folder(name: str, data_dir: str | None) -> Path:
    """The folder of the data set's newest version, or of the version that `name` asks for.

    Raises:
      UserError: it is not there; the sentence says how to prepare it.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise unknown_name("data set", name, _known_names())
    root = _root(data_dir)
    if data_dir is not None and not root.is_dir():
        raise UserError(f"the data directory {root} (data_dir) does not exist or is not a folder.")
    found = _versions_of(match, data_dir)
    if not found:
        raise _not_prepared(match, root, explicit=data_dir is not None)
    return found[-1]


def _versions_of(match: re.Match[str], data_dir: str | None) -> list[Path]:
    """The folders that a name may mean, the oldest version first."""
    if data_dir is None and match["name"] == "digits":
        return [prepared_digits()]
    try:
        found = _versions(_root(data_dir) / match["name"], match["config"])
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}).") from error
    if match["version"] is not None:
        found = [folder for folder in found if folder.name == match["version"]]
    return found


def _versions(folder: Path, config: str | None) -> list[Path]:
    """Every version below the folder of a data set, oldest first."""
    found = list((folder / config if config else folder).glob("*.*.*/dataset_info.json"))
    if not found and config is None:  # a data set whose one configuration needs no naming
        found = list(folder.glob("*/*.*.*/dataset_info.json"))
        configs = sorted({path.parent.parent.name for path in found})
        if len(configs) > 1:
            raise UserError(
                f"{folder} holds several configurations; "
                f"choose one of: {', '.join(f'{folder.name}/{each}' for each in configs)}."
            )
    versions = [path.parent for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)]
    return sorted(versions, key=lambda path: [int(number) for number in path.name.split(".")])


def _not_prepared(match: re.Match[str], root: Path, *, explicit: bool) -> UserError:
    name = match[0]
    check_known(name)
    if (root / "train").is_dir():
        return UserError(
            f"{root} holds folders of images, not {name} as TFDS prepares it; "
            f"to train on them, give {root} as the data source, without data_dir."
        )
    if root.name == match["name"] and _versions(root, match["config"]):
        return UserError(f"data_dir is one folder too deep; give {root.parent} for {root}.")
    command = f"python -m experiments.prepare {name}"
    source = ""
    if match["name"] == "imagenet2012":
        command += " --manual_dir=FOLDER"
        source = (
            ", with the two files ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar "
            "of image-net.org in FOLDER"
        )
    if explicit:
        command += f" --data_dir={root}"
    return UserError(f"{name} is not in {root}; prepare it with `{command}`{source}.")


def _file_instructions(name: str, split: str, info: Any, folder: Path) -> Sequence[FileInstruction]:
    """Which records of which files make up the split; every one of the files is there."""
    base = re.match(r"[\w-]*", split)[0]  # type: ignore[index]  # matches at least nothing
    if base not in info.splits and base != "all":
        raise UserError(
            f"{name} has no split '{split}'; it has {', '.join(sorted(info.splits))} "
            "(data.train_split, data.eval_split)."
        )
    try:
        instructions = info.splits[split].file_instructions
    except (ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"'{split}' is no split of {name} ({reason}); a slice is written like '{base}[:80%]'."
        ) from error
    if sum(max(each.take, 0) for each in instructions) == 0:
        raise UserError(f"the split '{split}' of {name} is empty; it has no examples.")
    # No pipe, which would never end, and nothing outside, where the description may point.
    with os.scandir(folder) as entries:
        there = {entry.path for entry in entries if entry.is_file()}
    missing = [path for each in instructions if (path := os.fspath(each.filename)) not in there]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(instructions)} files of {name} are missing, "
            f"such as {missing[0]}; copy or prepare the data set again."
        )
    return instructions


def allow_open_files(count: int) -> None:
    """Raises the process's soft limit on open files: array_record keeps every shard open.

    ImageNet has 1,024 shards, which is the usual limit; worker processes inherit the new one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
