"""Keras' files of weights (HDF5), read without Keras.

Three forms, told apart by what lies at the top of the file:

1. Weights files of Keras 1 and 2, such as ``vgg16_weights_tf_dim_ordering_tf_kernels.h5``: the
   attribute ``layer_names``, and for every layer a group with the attribute ``weight_names``.
2. Whole models saved as ``.h5`` by any Keras: the same within the group ``model_weights``.
3. ``.weights.h5`` of Keras 2.13 and later: ``layers/GROUP/vars/0``, ``.../1`` and so on. GROUP is
   the layer's class and a number that counts the layers of that class in the order of
   ``model.layers``: ``conv2d``, ``conv2d_1``, ... The layer's own name is the attribute ``name`` of
   ``vars``, which Keras 3.15 writes and 2.13, 2.15 and 3.5 do not.

Links to other files, data stored in other files, virtual data sets and all filters but the common
ones are refused, and sizes are checked before anything is allocated.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from jaxcnn.pretrained.refusal import Refusal, damaged, shown

# The variables of a layer in the order in which Keras numbers them.
_NUMBERED = {
    "conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Keras 1's names for them. What it calls a standard deviation is the variance.
_KERAS_1 = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
# Keras 2.13 counts every layer that has variables twice: conv2d, conv2d_2, ...
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_COUNTED = re.compile(r"(.*?)(?:(?:^|_)(\d{1,9}))?", re.DOTALL)
_VARIABLE = re.compile(
    f"({'|'.join([*_NUMBERED['conv2d'], *_NUMBERED['batch_normalization'], *_KERAS_1])})"
    r"(?:_\d+)?(?::\d+)?"
)
# Compressed numbers may unpack to this many times the file's size: trained weights to twice it.
_MOST_UNPACKED, _SPARE = 20, 2**24
_MOST_NAMES = 10_000
_CHECKSUM_BYTES = 4
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def read_keras(path: Path, size: int) -> dict[str, np.ndarray]:
    """The variables of a model as ``'LAYER/VARIABLE'``, such as ``'conv1_bn/moving_mean'``.

    LAYER is the layer's own name: of a layer inside another model its innermost one. Only where a
    ``.weights.h5`` holds no names is it automatic, ``'conv2d'``, ``'conv2d_1'``, ``'dense'``,
    ``'batch_normalization_12'``: the class, and how many layers of that class come before it in
    ``model.layers`` (of a model inside another, ``'functional.conv2d_1'``). In Keras' ResNets the
    shortcut of a block comes after its second convolution: ``conv2_block1_1_conv``, ``_2_conv``,
    ``_0_conv``, ``_3_conv``; the normalisations likewise.
    VARIABLE is ``kernel``, ``bias``, ``gamma``, ``beta``, ``moving_mean`` or ``moving_variance``,
    else as the file has it. Layers come in the order of ``layer_names``; in the third form sorted
    by class and number.

    Args:
      path: the file.
      size: its bytes.

    Raises:
      Refusal: the file is damaged, or is not Keras', or reaches outside itself.
    """
    try:
        with h5py.File(path, "r") as file:
            return _Reader(size).tensors(file)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise damaged("is no whole HDF5 file") from error


class _Reader:
    """Reads the variables of one file, within a bound on what they may take.

    Args:
      size: the file's bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = _SPARE + _MOST_UNPACKED * size

    def tensors(self, file: h5py.File) -> dict[str, np.ndarray]:
        tensors: dict[str, np.ndarray] = {}
        for name, variable in _variables(file):
            if name in tensors:
                raise Refusal(f"holds {shown(name)} twice: save the inner model's weights alone.")
            tensors[name] = self._array(name, variable)
        if not tensors:
            raise Refusal("is an HDF5 file, but holds no variables of layers as Keras writes them.")
        return tensors

    def _array(self, name: str, variable: h5py.Group | h5py.Dataset) -> np.ndarray:
        if not isinstance(variable, h5py.Dataset) or variable.shape is None:
            raise damaged(f"holds no numbers at {shown(name)}")
        if variable.external or variable.is_virtual:
            raise Refusal(f"keeps {shown(name)} in another file, which is not read.")
        dtype = variable.dtype.newbyteorder("=")
        if _names(variable, "dtype") == ["bfloat16"] and dtype.itemsize == 2:
            dtype = np.dtype(ml_dtypes.bfloat16)  # which HDF5 holds as bytes without a meaning
        elif dtype.kind not in "fiub":
            raise Refusal(f"holds {shown(name)} as {shown(str(dtype))}, which are no numbers.")
        chunk_bytes = math.prod(variable.chunks or ()) * dtype.itemsize
        self._left -= max(variable.nbytes, chunk_bytes)
        if self._left < 0:
            raise Refusal(
                f"says that it unpacks to more than {_MOST_UNPACKED} times its size: store its "
                "weights without compression."
            )
        if variable.chunks:
            _check_chunks(name, variable, chunk_bytes)
        elif variable.id.get_storage_size() != variable.nbytes:
            raise damaged(f"lacks the numbers of {shown(name)}")
        numbers = np.asarray(variable[()])
        return (
            numbers.view(dtype) if numbers.dtype.kind == "V" else numbers.astype(dtype, copy=False)
        )


def _variables(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    if not _names(file, "layer_names") and not _has(file, "model_weights"):
        yield from _numbered(file, "", set())
        return
    top = _child(file, "model_weights") if _has(file, "model_weights") else file
    for layer in _names(top, "layer_names"):
        group = _child(top, layer)
        weights = _names(group, "weight_names")
        # Several owners are the layers of a model that is itself a layer.
        several = len({weight.rpartition("/")[0] for weight in weights}) > 1
        for weight in weights:
            path = weight.split("/")
            owner = path[-2] if several and len(path) > 1 else layer
            known = _VARIABLE.fullmatch(path[-1].removeprefix(f"{owner}_"))
            variable = _KERAS_1.get(known[1], known[1]) if known else path[-1]
            yield f"{owner}/{variable}", _child(group, weight)


def _numbered(
    model: h5py.Group, outer: str, seen_models: set[int]
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    address = h5py.h5o.get_info(model.id).addr
    container = next((name for name in _CONTAINERS if _has(model, name)), None)
    if container is None or address in seen_models:  # hard links can make a circle
        return
    seen_models.add(address)
    layers = _child(model, container)
    seen: Counter[str] = Counter()
    for group_name in sorted(layers, key=_class_and_number):
        kind, _ = _class_and_number(group_name)
        automatic = f"{outer}{kind}_{seen[kind]}" if seen[kind] else f"{outer}{kind}"
        seen[kind] += 1
        group = _child(layers, group_name)
        if _has(group, "vars"):
            variables = _child(group, "vars")
            (name,) = _names(variables, "name") or [automatic]
            for number in sorted(variables, key=_class_and_number):
                known = dict(zip("0123", _NUMBERED.get(kind, ()), strict=False))
                yield f"{name}/{known.get(number, number)}", _child(variables, number)
        yield from _numbered(group, f"{automatic}.", seen_models)


def _class_and_number(name: str) -> tuple[str, int]:
    """('conv2d', 12) for 'conv2d_12', ('conv2d', 0) for 'conv2d', ('', 3) for '3'."""
    counted = _COUNTED.fullmatch(name)
    return (counted[1], int(counted[2] or 0)) if counted else (name, 0)


def _has(group: h5py.Group | h5py.Dataset, name: str) -> bool:
    return isinstance(group, h5py.Group) and group.id.links.exists(name.encode())


def _child(group: h5py.Group | h5py.Dataset, path: str) -> h5py.Group | h5py.Dataset:
    """What lies at a path of names within a group; links that could lead elsewhere are refused."""
    for name in path.split("/"):
        if not _has(group, name):
            raise damaged(f"lacks its part {shown(path)}")
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise Refusal(f"holds at {shown(path)} a link to elsewhere, which is not followed.")
        group = group[name]
    return group


def _names(group: h5py.Group | h5py.Dataset, attribute: str) -> list[str]:
    """The strings of an attribute, which Keras splits into numbered ones where they are many."""
    parts = [attribute] if attribute in group.attrs else []
    while not parts or parts[-1] != attribute:
        if (part := f"{attribute}{len(parts)}") not in group.attrs:
            break
        parts.append(part)
    names: list[str] = []
    for part in parts:
        stored = h5py.h5a.open(group.id, part.encode())
        if math.prod(stored.shape) > _MOST_NAMES:
            raise damaged(f"gives more than {_MOST_NAMES} names at once")
        names += (n.decode() if isinstance(n, bytes) else n for n in np.ravel(group.attrs[part]))
    if not all(isinstance(name, str) for name in names):
        raise damaged("names its layers by what are no names")
    return names


def _check_chunks(name: str, variable: h5py.Dataset, chunk_bytes: int) -> None:
    """Lets through what HDF5 will unpack into no more than the chunks that it allocates."""
    pipeline = variable.id.get_create_plist()
    filters = [pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())]
    if not set(filters) <= _FILTERS:
        raise Refusal(f"holds {shown(name)} compressed by other means than gzip: unpack it.")
    for i in range(variable.id.get_num_chunks()):
        chunk = variable.id.get_chunk_info(i)
        skipped, packed = variable.id.read_direct_chunk(chunk.chunk_offset)
        if h5py.h5z.FILTER_DEFLATE not in filters or skipped:
            fits = len(packed) <= chunk_bytes + _CHECKSUM_BYTES
        else:
            fits = len(zlib.decompressobj().decompress(packed, chunk_bytes + 1)) <= chunk_bytes
        if not fits:
            raise damaged(f"holds more in {shown(name)} than its shape says")
