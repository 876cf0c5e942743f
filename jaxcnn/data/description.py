"""What TFDS wrote about a data set, read as a description and never as a program.

TFDS makes the features of ``features.json`` by importing whatever module the file names, from the
working directory too, and takes its numbers as they come. A data set may be anyone's, so its
description is held against what a description is, before TFDS reads it and after.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxcnn.errors import UserError

_FEATURE = re.compile(r"tensorflow_datasets\.core\.features\.[\w.]+")
_NAMES_A_CLASS = ("pythonClassName", "python_class_name", "type")  # the last in older files
_MOST_CLASSES = 2**20


def read_info(folder: Path, formats: Collection[str]) -> tuple[Any, str]:
    """TFDS's information on the data set in a folder, and the format that its files are read in.

    Args:
      folder: that of a version, which holds ``dataset_info.json``.
      formats: those that can be read, the preferred ones first.

    Raises:
      UserError: the description is damaged, names a class that is not TFDS's own, or is of files
        in other formats.
    """
    try:
        refuse_code(folder)
        info = tfds.builder_from_directory(folder).info
        found = {each.value for each in info.available_file_formats()}
        for name in formats:
            if name in found:
                if info.file_format.value != name:
                    info = tfds.builder_from_directory(folder, file_format=name).info
                return info, name
    except UserError:
        raise
    except Exception as error:  # TFDS raises what its JSON parser, its files and its checks raise
        raise UserError(
            f"{folder} cannot be read as a data set of TFDS ({first_line(error)}); "
            "copy or prepare it again."
        ) from error
    raise UserError(
        f"{folder} is in the format {' and '.join(sorted(found))}, which has no random access "
        f"here; prepare the data set again, in another data_dir, as {' or '.join(formats)}."
    )


def refuse_code(folder: Path) -> None:
    """Refuses a description that has TFDS import anything but its own features.

    Raises:
      UserError: it does.
      OSError, ValueError, RecursionError: ``features.json`` is not there, or no JSON.
    """
    for name in _classes(json.loads((folder / "features.json").read_text())):
        if not _FEATURE.fullmatch(name):
            raise UserError(
                f"{folder}/features.json names {name!r}, which is none of TFDS's features and "
                "would be imported as code; prepare the data set again."
            )


def _classes(described: Any) -> Iterator[str]:
    """Every class that a tree of features names."""
    waiting = [described]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            # A feature may itself be called 'type', and is then described by a dict.
            yield from (v for key in _NAMES_A_CLASS if isinstance(v := item.get(key), str))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def image_and_label(name: str, features: Any) -> tuple[Any, Any]:
    """The two features that a data set must have to be classified.

    Raises:
      UserError: it does not have them, or they describe no images or no classes.
    """
    fields = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = fields.get("image"), fields.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        raise UserError(
            f"{name} is not a set of labelled images: it needs the features 'image' and 'label', "
            f"and has {', '.join(sorted(fields)) or 'no names'}."
        )
    if not 0 < (label.num_classes or 0) <= _MOST_CLASSES:
        raise UserError(
            f"{name} has {label.num_classes} classes by its description, where 1 to "
            f"{_MOST_CLASSES:,} are possible; copy or prepare it again."
        )
    return image, label


def first_line(error: Exception) -> str:
    """What an exception says, fit to stand in a sentence of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
