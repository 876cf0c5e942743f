"""From the name of a data set, or a path, to random access over its encoded images."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol

from jaxcnn.errors import UserError


class Example(NamedTuple):
    """One labelled image as it lies on disk.

    Attributes:
      image: the encoded file (JPEG, PNG, ...), unchanged.
      label: the index of its class in the source's `class_names`.
      name: what to call it in a message: a path, or ``'imagenet2012 train example 17'``.
    """

    image: bytes
    label: int
    name: str


class Source(Protocol):
    """Random access to the examples of one split, always in the same order.

    Reading is safe from several threads at once, and a source can be pickled, to be sent to the
    worker processes of a pipeline.

    Attributes:
      name: the data set, as the user wrote it.
      class_names: the name of each label.
      channels: what the images are: 1, grey, or 3, colour.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """The example at `index`; a `UserError` if unreadable, an `IndexError` past the end."""
        ...


def open_source(source: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens one split of a data set.

    Args:
      source: the name of a data set of TFDS (``'imagenet2012'``, ``'cifar10'``, ...), ``'digits'``
        (prepared on first use), or a path to folders of images, ``PATH/train/CLASS/*.jpg``. A name
        that TFDS knows is never taken for a folder of that name: write ``./cifar10`` for one.
      split: ``'train'``, ``'validation'`` or ``'test'``, or whatever else the data set has; of data
        sets of TFDS also a slice, such as ``'train[:80%]'``.
      data_dir: where TFDS prepared its data sets; ``$TFDS_DATA_DIR`` or ``~/tensorflow_datasets``
        if None. Not for folders of images.

    Raises:
      UserError: there is no such data set, folder or split, or it cannot be read.
    """
    # Each kind is imported when asked for: TFDS costs half a second, which folders need not pay.
    if _is_path(source, data_dir):
        from jaxcnn.data.folders import FolderSource

        return FolderSource(source, split)
    from jaxcnn.data.prepared import PreparedSource

    return PreparedSource(source, split, data_dir=data_dir)


def _is_path(source: str, data_dir: str | None) -> bool:
    if not source:
        raise UserError("the data source is empty; name a data set, or a folder of images.")
    if source.startswith((".", "~", os.sep)):
        return True
    from jaxcnn.data.prepared import is_name

    if is_name(
        source, data_dir
    ):  # 'cifar10', and 'imagenet_resized/64x64', which looks like a path
        return False
    return os.sep in source or Path(source).is_dir()
