"""A prepared data set once more, its images smaller or already decoded, to be read faster.

It lies beside the original in the same layout: the same splits, classes, files and order, so that
``'train[:80%]'`` names the same images, under a name that says what was done:
``imagenet2012_side512``, ``imagenet2012_side256_raw``. It is named as a data source like any other.

A random part of a resized image is not the same as that part of the original, resized: it has been
interpolated twice and, as a JPEG, quantised twice, and a small part that the original had the
pixels for is shown enlarged. What is trained on it is another training set, if a similar one.

Work is kept by the file (`jaxcnn.data.shards`); each file's SHA-256 is noted as it is written, in
``checksums.sha256``, which ``sha256sum --check`` reads too.
"""

import concurrent.futures
import dataclasses
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from jaxcnn.data.checksums import Checksums, sha256
from jaxcnn.data.description import image_and_label, read_info
from jaxcnn.data.prepared import READERS, PreparedSource, version_folder
from jaxcnn.data.resized_form import Form
from jaxcnn.data.shards import (
    alone_in,
    check_room,
    forget_other_work,
    unwritable,
    write_records,
)
from jaxcnn.data.tfrecord import count_records
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.progress import Progress

_USUAL_ASPECT = 4 / 3  # of photographs, to guess how much room pixels need
_NAME = re.compile(r"\w[\w.-]*")


def prepare_resized(name: str, data_dir: str | None, root: Path, form: Form) -> Path:
    """Writes a prepared data set once more below `root`, or goes on with it, showing a bar.

    Args:
      name: the data set.
      data_dir: where it was prepared, as in `PreparedSource`.
      root: the folder for data sets.
      form: what becomes of its images.

    Returns:
      The new data set's folder; one that is whole is left as it is.

    Raises:
      UserError: the data set cannot be read, the folder not be written, the disk is too small, or
        another process is preparing the same.
    """
    form.check()
    original = version_folder(name, data_dir)
    folder = resized_folder(original, root, form)
    unfinished = folder.parent / f"incomplete.{folder.name}"
    info, _ = read_info(original, READERS)
    try:
        if folder.exists():
            if all(path.exists() for path, _ in _files(folder, _described(folder))):
                return folder
            os.rename(folder, unfinished)  # a file was removed, to be made again
        description = _resized_description(original, form)
        with alone_in(unfinished):
            forget_other_work(unfinished, _origin(original, form))
            if form.raw and form.side is not None:
                check_room(unfinished, _missing_bytes(unfinished, description, form.side))
            checksums = Checksums(unfinished)
            for split in description["splits"]:
                source = PreparedSource(name, split["name"], data_dir=data_dir)
                _write_split(_files(unfinished, description, split), split, source, form, checksums)
            _features(name, info).save_config(os.fspath(unfinished))
            write_atomically(
                unfinished / "dataset_info.json", json.dumps(description, indent=2, sort_keys=True)
            )
            for path in (*unfinished.glob("*.part"), *unfinished.glob(".*.tmp")):
                path.unlink()
            os.rename(unfinished, folder)
    except OSError as error:
        raise unwritable(error.filename or unfinished, error.strerror or str(error)) from error
    return folder


def verify_resized(folder: Path) -> int:
    """Holds every file of a resized data set against its checksum and its count of records.

    Returns:
      The number of files.

    Raises:
      UserError: one is missing, or has changed; it is named.
    """
    expected = Checksums(folder).known
    files = list(_files(folder, _described(folder)))
    with Progress(total=sum(count for _, count in files), description="verifying") as bar:
        for path, count in files:
            try:
                same = sha256(path) == expected.get(path.name)
                counted = same and _records(path) == count
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error.strerror}).") from error
            if not counted:
                raise UserError(
                    f"{path} is not as it was written; remove it and give the command without "
                    "--verify: it is made again."
                )
            bar.advance(count)
    return len(files)


def _records(path: Path) -> int:
    if ".tfrecord-" in path.name:
        return count_records(path)
    return len(ArrayRecordDataSource([os.fspath(path)]))


def resized_folder(original: Path, root: Path, form: Form) -> Path:
    """Where the resized form of the data set in a version's folder is."""
    described = _described(original)
    parts = [described["name"] + form.suffix, described.get("configName", ""), original.name]
    return root.joinpath(*filter(None, parts))


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "dataset_info.json"
    try:
        found = json.loads(path.read_bytes())
        names = [
            found["name"],
            found["fileFormat"],
            found.get("configName", "_"),
            *(s["name"] for s in found["splits"]),
        ]
        if not all(_NAME.fullmatch(name) for name in names):  # which become those of files
            raise ValueError("a name in it is none")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); prepare it again.") from error
    return found


def _resized_description(original: Path, form: Form) -> dict[str, Any]:
    """The original's, with the new name, and files that are one to one its own."""
    described = _described(original)
    for field in ("moduleName", "alternativeFileFormats"):  # of its builder, and of its own files
        described.pop(field, None)
    size = "" if form.side is None else f" reduced to {form.side} pixels of the shorter side,"
    kept = " as pixels (PPM)" if form.raw else f" as JPEGs of quality {form.quality}"
    described["description"] = (
        f"{described['name']} with larger images{size}{kept}. {described.get('description', '')}"
    )
    described["name"] += form.suffix
    described["fileFormat"] = form.file_format
    described["splits"] = [
        {
            "name": split["name"],
            "shardLengths": [str(int(length)) for length in split["shardLengths"]],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for split in described["splits"]
        if split.get("shardLengths")
    ]
    return described


def _files(
    folder: Path, described: dict[str, Any], split: dict[str, Any] | None = None
) -> list[tuple[Path, int]]:
    """Each file, of one split or of all, and how many records it has."""
    found = []
    for of in [split] if split else described["splits"]:
        stem, lengths = f"{described['name']}-{of['name']}", of["shardLengths"]
        for number, length in enumerate(lengths):
            name = f"{stem}.{described['fileFormat']}-{number:05}-of-{len(lengths):05}"
            found.append((folder / name, int(length)))
    return found


def _missing_bytes(folder: Path, described: dict[str, Any], side: int) -> int:
    count = sum(length for path, length in _files(folder, described) if not path.exists())
    return int(count * 3 * side * side * _USUAL_ASPECT)


def _origin(original: Path, form: Form) -> dict[str, Any]:
    status = (original / "dataset_info.json").stat()
    return {"of": [os.fspath(original), status.st_mtime_ns], **dataclasses.asdict(form)}


def _features(name: str, info: Any) -> Any:
    image, label = image_and_label(name, info.features)
    shape = (None, None, image.shape[-1])  # in several formats: some keep the bytes that they had
    return tfds.features.FeaturesDict({"image": tfds.features.Image(shape=shape), "label": label})


def _write_split(
    files: list[tuple[Path, int]],
    split: dict[str, Any],
    source: PreparedSource,
    form: Form,
    checksums: Checksums,
) -> None:
    """Writes the files of a split that are not there yet, and adds how large all are."""
    done = sum(count for path, count in files if path.exists())
    threads = os.cpu_count() or 1
    with (
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
        Progress(total=len(source), initial=done, description=f"writing {split['name']}") as bar,
    ):

        def record(index: int) -> bytes:
            data, label = source.read(index)
            example = tf_example_pb2.Example()
            image = form.apply(data, source.channels)
            example.features.feature["image"].bytes_list.value.append(image)
            example.features.feature["label"].int64_list.value.append(label)
            return example.SerializeToString(deterministic=True)  # TFDS leaves the order to chance

        start = 0
        for path, count in files:
            if not path.exists():
                records = _in_order(pool, record, range(start, start + count), ahead=4 * threads)
                # JPEGs are compressed already.
                write_records(path, records, bar, options="group_size:1,uncompressed")
                checksums.add(path)
            elif path.name not in checksums.known:  # killed between the two
                checksums.add(path)
            start += count
    split["numBytes"] = str(sum(path.stat().st_size for path, _ in files))


def _in_order(
    pool: concurrent.futures.Executor,
    function: Callable[[int], bytes],
    items: Iterable[int],
    *,
    ahead: int,
) -> Iterator[bytes]:
    """As ``map`` does, but with no more than so many results waiting or in the making."""
    waiting: deque[concurrent.futures.Future[bytes]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
