"""Preparing any data set of labelled images that TFDS describes, without TensorFlow.

TFDS's builders call a few functions of TensorFlow as they prepare a data set: to open files, and to
encode images that they hold as arrays. While one prepares here, plain Python and Pillow take their
place.
"""

import contextlib
import functools
import glob
import io
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import requests
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download import download_manager, downloader, extractor
from tensorflow_datasets.core.download.resource import get_dl_fname
from tensorflow_datasets.core.download.util import DownloadError
from tensorflow_datasets.core.utils import lazy_imports_utils

from jaxcnn.data.description import first_line, image_and_label, refuse_code
from jaxcnn.data.digits import prepared_digits
from jaxcnn.data.imagenet import prepare_imagenet
from jaxcnn.data.prepared import allow_open_files, check_known, default_data_dir
from jaxcnn.errors import UserError

_PROBE_SECONDS = 10
_SORTING_FILES = 1000  # that TFDS has open at once when a data set exceeds 1 GB


def prepare(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> Path:
    """Prepares a data set in array_record files; one that is there already is left as it is.

    Args:
      name: a data set of TFDS, ``'NAME'`` or ``'NAME/CONFIG'``, or ``'digits'``.
      data_dir: the folder to prepare it in; None for `default_data_dir`
        (of the digits: the user's cache).
      manual_dir: a folder with files downloaded by other means, under their own names. None
        downloads them, where the data set's owner allows that.

    Returns:
      The data set's folder, ``DATA_DIR/NAME/VERSION``.

    Raises:
      UserError: there is no such data set, its files are not to be had, or cannot be written.
    """
    check_known(name)
    if name == "digits" and data_dir is None:
        return prepared_digits()
    root = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    manual = None if manual_dir is None else Path(manual_dir).expanduser()
    if manual is not None and not manual.is_dir():
        raise UserError(f"the folder {manual} (--manual_dir) does not exist.")
    _check_there(root / re.split("[/:]", name)[0])
    if name == "imagenet2012":
        if manual is None:
            raise UserError(
                "imagenet2012 needs --manual_dir=FOLDER, with the files ILSVRC2012_img_train.tar "
                "and ILSVRC2012_img_val.tar of https://image-net.org/download-images in FOLDER."
            )
        return prepare_imagenet(manual, root)
    try:
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
    except Exception as error:  # as many kinds as there are builders
        raise UserError(f"{name} cannot be prepared: {first_line(error)}.") from error
    image_and_label(name, builder.info.features)
    folder = Path(builder.data_dir)
    if (folder / "dataset_info.json").exists():
        return folder
    allow_open_files(_SORTING_FILES)
    with _sentences(name), _without_tensorflow(), _few_retries():
        _check_network(builder, root, manual)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
        )
    return folder


def _check_there(folder: Path) -> None:
    """Refuses what TFDS would take for an earlier preparation and should not read."""
    for path in (p for depth in ("*", "*/*") for p in folder.glob(f"{depth}/features.json")):
        try:
            refuse_code(path.parent)
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{path} cannot be read ({first_line(error)}); move {path.parent} out of the way."
            ) from error


@contextlib.contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Says in one sentence what TFDS's exceptions mean to the user."""
    try:
        yield
    except UserError:
        raise
    except (requests.RequestException, DownloadError) as error:
        raise UserError(
            f"{name} could not be downloaded: {first_line(error)}; "
            "download it by other means and give the folder as --manual_dir."
        ) from error
    except (download_manager.NonMatchingChecksumError, extractor.ExtractError) as error:
        raise UserError(
            f"{name} cannot use a file that it was given: {first_line(error)}; "
            "remove the file and get it again."
        ) from error
    except ImportError as error:
        raise UserError(
            f"{name} cannot be prepared here: its builder in TFDS needs {error.name}; "
            f"prepare it where that is installed, with file_format='array_record'."
        ) from error
    except AssertionError as error:  # how TFDS asks for files that no one may pass on
        raise UserError(
            f"{name} needs files that you must download yourself, in --manual_dir=FOLDER: "
            f"{' '.join(str(error).split())}"
        ) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise UserError(
            f"{name} cannot be prepared: {error.strerror or first_line(error)}{where}."
        ) from error


def _check_network(builder: Any, root: Path, manual: Path | None) -> None:
    """Refuses to start where no file is at hand and the first one's host cannot be reached."""
    downloads = (root / "downloads", root / "downloads" / builder.name)
    files = builder.url_infos or {}
    for url, info in files.items():
        if manual is not None and info.filename and (manual / info.filename).exists():
            return
        if any((folder / get_dl_fname(url, info.checksum)).exists() for folder in downloads):
            return
    for url in itertools.islice(files, 1):
        try:
            requests.head(url, timeout=_PROBE_SECONDS)
        except requests.RequestException as error:
            names = sorted({info.filename for info in files.values()} - {None})
            raise UserError(
                f"{builder.name} is made from {', '.join(names)}, and {url.rpartition('/')[0]} "
                "cannot be reached; download the files by other means, and give their folder as "
                "--manual_dir."
            ) from error


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Has a download fail in seconds where TFDS, without a network, would try for ten minutes."""
    retries, log = downloader.MAX_RETRIES, logging.getLogger("urllib3")
    level = log.level
    downloader.MAX_RETRIES = 3
    log.setLevel(logging.ERROR)  # what fails in the end is said once
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        log.setLevel(level)


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Gives TFDS's `tf`, one object which imports TensorFlow when asked for a name, some names."""
    names = vars(lazy_imports_utils.tensorflow)
    before = dict(names)
    names.update(_STAND_IN)
    try:
        yield
    finally:
        names.clear()
        names.update(before)


class _Encoded(bytes):
    """Bytes that pass for an eager tensor of TensorFlow."""

    def numpy(self) -> bytes:
        return bytes(self)


def _encode(array: np.ndarray, image_format: str, **options: Any) -> _Encoded:
    """A height x width x channels array as a PNG or JPEG file."""
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(
        file, image_format, **options
    )
    return _Encoded(file.getvalue())


def _open(path: str | os.PathLike[str], mode: str = "r") -> IO[Any]:
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


class _NeverRaisedError(Exception):
    """TensorFlow's errors, which TFDS catches; plain Python raises ``OSError`` instead."""


_STAND_IN = {
    "executing_eagerly": lambda: True,
    "compat": SimpleNamespace(as_text=lambda text: text),
    "errors": SimpleNamespace(
        NotFoundError=_NeverRaisedError,
        PermissionDeniedError=_NeverRaisedError,
        ResourceExhaustedError=_NeverRaisedError,
        UnimplementedError=_NeverRaisedError,
    ),
    "image": SimpleNamespace(
        encode_png=functools.partial(_encode, image_format="png"),
        encode_jpeg=functools.partial(_encode, image_format="jpeg", quality=95),  # TensorFlow's
    ),
    "io": SimpleNamespace(
        gfile=SimpleNamespace(
            GFile=_open,
            exists=os.path.exists,
            glob=glob.glob,
            isdir=os.path.isdir,
            listdir=os.listdir,
            remove=os.remove,
            walk=os.walk,
        )
    ),
    "error_callback": None,  # the banner that TFDS prints when it misses TensorFlow
}
