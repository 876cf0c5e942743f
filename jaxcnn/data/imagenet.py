"""ILSVRC-2012 from its two tars into TFDS's layout, in array_record files, without TensorFlow.

What is written is what TFDS's own preparation writes: the same fields, the same number of files,
and the same order, by the MD5 of split and file name, so that ``'train[:99%]'`` names the same
images in either. One thing differs: every image keeps its bytes. TFDS re-encodes the 22 CMYK images
and the one PNG among the JPEGs, and re-encoding is lossy; here they are converted when read.

Work is kept by the file: each is written under another name and given its own when it is whole, in
a folder that takes the data set's name when all is done. Whatever stops the work, the same call
goes on with the files that are missing.
"""

import concurrent.futures
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing, naming
from tensorflow_datasets.core.utils import shard_utils

from jaxcnn.data.imagenet_tars import find_tars, index_tar, kept_index
from jaxcnn.data.shards import (
    ORIGIN,
    alone_in,
    check_room,
    forget_other_work,
    unwritable,
    write_records,
)
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.progress import Progress

_READING_THREADS = 8  # images are read where they lie in the tar, in the shuffled order


def prepare_imagenet(
    tar_folder: Path, data_dir: Path, *, shards: Mapping[str, int] | None = None
) -> Path:
    """Prepares ``imagenet2012`` below `data_dir`, or goes on with it, showing a bar.

    Memory holds the images of one file (137 MB of ImageNet), and the index of the tars (80 MB).

    Args:
      tar_folder: where ``ILSVRC2012_img_train.tar`` and ``ILSVRC2012_img_val.tar`` are.
      data_dir: the folder for data sets of TFDS; it is made if it is not there.
      shards: the number of files of each split; None for as many as TFDS makes (1,024 and 64).

    Returns:
      The data set's folder, ``DATA_DIR/imagenet2012/5.1.0``; an existing one is left as it is.

    Raises:
      UserError: a tar is missing or damaged, the folder cannot be written, the disk is too small,
        another process is preparing the same data set, or something else has its name.
    """
    builder = tfds.builder("imagenet2012", data_dir=data_dir, file_format="array_record")
    folder = Path(builder.data_dir)
    if (folder / "dataset_info.json").exists():
        return folder
    if folder.exists():
        raise UserError(f"{folder} exists and is not a whole data set; move it out of the way.")
    tars = find_tars(tar_folder)
    features = builder.info.features
    unfinished = folder.parent / f"incomplete.{folder.name}"
    try:
        with alone_in(unfinished):
            forget_other_work(unfinished, _origin(tars, shards))
            images = {
                split: _index(unfinished, tar, split, features["label"].names)
                for split, tar in tars.items()
            }
            plan = {split: _plan(unfinished, split, images[split], shards) for split in tars}
            _check_room(unfinished, images, plan)
            splits = [
                _write_split(tars[split], images[split], plan[split], features) for split in tars
            ]
            builder.info.set_splits(tfds.core.splits.SplitDict(splits))
            builder.info.write_to_directory(unfinished)
            os.rename(unfinished, folder)
            for name in (ORIGIN, "*.index.npy", ".*.tmp"):
                for path in folder.glob(name):
                    path.unlink()
    except OSError as error:
        raise unwritable(error.filename or unfinished, error.strerror or str(error)) from error
    return folder


def _origin(tars: Mapping[str, Path], shards: Mapping[str, int] | None) -> dict[str, Any]:
    """What the files are made of and how, as a JSON-able dict."""
    status = {split: tar.stat() for split, tar in tars.items()}
    return {
        "tars": {split: [each.st_size, each.st_mtime_ns] for split, each in status.items()},
        "shards": None if shards is None else dict(shards),
    }


def _index(folder: Path, tar: Path, split: str, class_names: Sequence[str]) -> np.ndarray:
    """The images of a tar in the order they are written in; made once, and kept in the folder."""
    path = folder / f"{split}.index.npy"
    if (kept := kept_index(path, tar.stat().st_size)) is not None:
        return kept
    images = index_tar(tar, split, class_names)
    hasher = hashing.Hasher(split)
    order = sorted(
        range(len(images)), key=[hasher.hash_key(each) for each in images["name"]].__getitem__
    )
    images = images[order]
    content = io.BytesIO()
    np.save(content, images)
    write_atomically(path, content.getvalue())
    return images


class _Plan(NamedTuple):
    """How a split is laid out in files: TFDS's names, and in each file a run of the images."""

    template: naming.ShardedFileTemplate
    paths: list[Path]
    ends: list[int]

    def runs(self) -> Iterator[tuple[Path, slice]]:
        for path, (start, end) in zip(self.paths, itertools.pairwise((0, *self.ends)), strict=True):
            yield path, slice(start, end)


def _plan(folder: Path, split: str, images: np.ndarray, shards: Mapping[str, int] | None) -> _Plan:
    template = naming.ShardedFileTemplate(
        data_dir=folder,
        dataset_name="imagenet2012",
        split=split,
        filetype_suffix="array_record",
    )
    count = (
        shard_utils.ShardConfig.calculate_number_shards(int(images["size"].sum()), len(images))
        if shards is None
        else shards[split]
    )
    paths = [Path(path) for path in template.sharded_filepaths(count)]
    return _Plan(template, paths, list(shard_utils.get_shard_boundaries(len(images), count)))


def _check_room(folder: Path, images: Mapping[str, np.ndarray], plan: Mapping[str, _Plan]) -> None:
    needed = sum(
        int(images[split]["size"][run].sum())
        for split in images
        for path, run in plan[split].runs()
        if not path.exists()
    )
    check_room(folder, needed)


def _write_split(tar: Path, images: np.ndarray, plan: _Plan, features: Any) -> Any:
    """Writes the files that are not there yet, and says what TFDS wants to know of the split."""
    done = sum(run.stop - run.start for path, run in plan.runs() if path.exists())
    with (
        tar.open("rb", buffering=0) as file,
        concurrent.futures.ThreadPoolExecutor(_READING_THREADS) as pool,
        Progress(
            total=len(images), initial=done, description=f"writing {plan.template.split}"
        ) as bar,
    ):

        def read(image: tuple[bytes, int, int, int]) -> bytes:
            _, _, offset, size = image
            try:
                data = os.pread(file.fileno(), size, offset)
            except OSError as error:
                raise UserError(f"{tar} cannot be read ({error.strerror}).") from error
            if len(data) != size:
                raise UserError(f"{tar} has become shorter while it was read; get the file again.")
            return data

        for path, run in plan.runs():
            if not path.exists():
                rows = images[run].tolist()
                examples = (
                    {"file_name": name.decode(), "image": data, "label": label}
                    for (name, label, _, _), data in zip(rows, pool.map(read, rows), strict=True)
                )
                write_records(path, map(features.serialize_example, examples), bar)
    return tfds.core.SplitInfo(
        name=plan.template.split,
        shard_lengths=[run.stop - run.start for _, run in plan.runs()],
        num_bytes=sum(path.stat().st_size for path in plan.paths),
        filename_template=plan.template,
    )
