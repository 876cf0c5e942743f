"""The tensors that a pickle of PyTorch describes, as numpy arrays.

Such a pickle describes tensors as views of storages, which lie elsewhere in the file
(``persistent_id`` in ``torch/serialization.py``, ``_rebuild_tensor_v2`` in ``torch/_utils.py``).
Every description is held against its storage, and every storage against the file, before a byte is
allocated for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.pretrained.pickles import Named, PickleReader
from jaxcnn.pretrained.refusal import Refusal, damaged, shown

_DTYPES: dict[str, Any] = {
    "torch.DoubleStorage": np.float64,
    "torch.FloatStorage": np.float32,
    "torch.HalfStorage": np.float16,
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.LongStorage": np.int64,
    "torch.IntStorage": np.int32,
    "torch.ShortStorage": np.int16,
    "torch.CharStorage": np.int8,
    "torch.ByteStorage": np.uint8,
    "torch.BoolStorage": np.bool_,
    "torch.ComplexFloatStorage": np.complex64,
    "torch.ComplexDoubleStorage": np.complex128,
}
_ALLOWED = frozenset(
    {
        *_DTYPES,
        *(f"torch.{np.dtype(dtype).name}" for dtype in _DTYPES.values()),
        "torch.Size",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
    }
)
# ResNet-152 is described in 0.1 MB, its optimizer's state in as much again.
LARGEST_PICKLE = 2**20
_MOST_AXES = 64  # of PyTorch and of numpy
_LARGEST_NUMBER = 2**48
_LARGEST_EMPTY = 2**31  # what the other axes of an array without numbers may come to


@dataclass(frozen=True)
class Storage:
    """``count`` numbers, and of them the ``length`` from ``start`` on (all, but in old files)."""

    key: str
    dtype: np.dtype[Any]
    count: int
    start: int
    length: int

    @property
    def nbytes(self) -> int:
        """The bytes of all its numbers."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count its numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchPickles:
    """Reads the pickles of a file of PyTorch, tensors as `Tensor`.

    Args:
      data: bytes that begin with whole pickles.

    Attributes:
      storages: by their keys, those that the pickles read so far have named.
    """

    def __init__(self, data: bytes) -> None:
        self.storages: dict[str, Storage] = {}
        self._length = len(data)
        self._reader = PickleReader(data[:LARGEST_PICKLE], _ALLOWED, self._call, self._storage)

    @property
    def position(self) -> int:
        """Where the next pickle begins."""
        return self._reader.position

    def read(self) -> Any:
        """The object that the next pickle describes.

        Raises:
          Refusal: the pickle is damaged, or describes anything but tensors, numbers and names.
        """
        try:
            return self._reader.read()
        except EOFError as error:
            if self._length >= LARGEST_PICKLE:
                raise Refusal(
                    f"describes its tensors in more than {LARGEST_PICKLE} bytes, which no network "
                    "of ours needs: save the model's state_dict() alone."
                ) from error
            raise damaged("ends within the description of its tensors") from error

    def _storage(self, identity: object) -> Storage:
        match identity:
            case ("storage", Named(kind), str(key), str(), int(count), *view) if kind in _DTYPES:
                start, length = 0, count
                match view:
                    case [] | [None]:
                        pass
                    case [(str(), int(start), int(length))]:
                        pass
                    case _:
                        raise _odd("a storage")
                storage = Storage(key, np.dtype(_DTYPES[kind]), count, start, length)
                if not 0 <= start <= start + length <= count:
                    raise _odd("a storage")
                known = self.storages.setdefault(key, storage)
                if (known.dtype, known.count) != (storage.dtype, storage.count):
                    raise _odd("a storage")
                return storage
        raise _odd("a storage")

    def _call(self, name: str, arguments: tuple[Any, ...]) -> object:
        match name.rpartition(".")[2], arguments:
            case "Size", (tuple(),):
                return arguments[0]
            case "_rebuild_parameter", (Tensor(), *_):
                return arguments[0]
            case (
                "_rebuild_tensor" | "_rebuild_tensor_v2",
                (Storage(), int(offset), tuple(shape), tuple(strides), *_),
            ):
                return _tensor(arguments[0], offset, shape, strides)
        raise _odd(f"a call of {name}")


def _tensor(
    storage: Storage, offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]
) -> Tensor:
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise _odd("a tensor")
    if not all(type(number) is int and 0 <= number < _LARGEST_NUMBER for number in numbers):
        raise _odd("a tensor")
    if math.prod(max(n, 1) for n in shape) > max(storage.length, _LARGEST_EMPTY):
        raise _odd("a tensor")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if max(count, offset) > storage.length or (count and last >= storage.length):
        raise damaged(
            f"describes a tensor of shape {shown(str(shape))}, more than is stored for it"
        )
    return Tensor(storage, offset, shape, strides)


def _odd(what: str) -> Refusal:
    return damaged(f"describes {what} as PyTorch never does")


def state_dict(described: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which training scripts wrap as 'state_dict' or 'model'.

    Args:
      described: what `TorchPickles.read` gave.

    Raises:
      Refusal: it is no state dict, or holds anything but tensors.
    """
    for key in ("state_dict", "model"):
        if isinstance(described, dict) and isinstance(described.get(key), dict):
            described = described[key]
    if not isinstance(described, dict) or not described:
        raise Refusal("holds no weights by name: save the model's state_dict().")
    for name, tensor in described.items():
        if type(name) is not str or not isinstance(tensor, Tensor):
            raise Refusal(
                f"holds under {shown(str(name))} no tensor but a {type(tensor).__name__}: save the "
                "model's state_dict() alone, or wrapped as 'state_dict' or 'model'."
            )
    return described


def arrays(
    tensors: dict[str, Tensor], stored: Callable[[Storage], np.ndarray], size: int
) -> dict[str, np.ndarray]:
    """The arrays of the tensors, views of their storages, each of which is read once.

    Args:
      tensors: a state dict.
      stored: gives the bytes of a storage, ``(nbytes,)`` uint8, in this machine's byte order.
      size: the bytes of the file, which bound those of all storages.

    Raises:
      Refusal: the storages come to more than the file.
    """
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if sum(storage.nbytes for storage in storages.values()) > size:
        raise damaged("describes more numbers than it holds")
    contents = {key: stored(storage) for key, storage in storages.items()}
    return {name: _array(tensor, contents[tensor.storage.key]) for name, tensor in tensors.items()}


def _array(tensor: Tensor, content: np.ndarray) -> np.ndarray:
    storage, itemsize = tensor.storage, tensor.storage.dtype.itemsize
    if 0 in tensor.shape:
        return np.empty(tensor.shape, storage.dtype)
    return np.ndarray(
        tensor.shape,
        storage.dtype,
        buffer=content,
        offset=(storage.start + tensor.offset) * itemsize,
        strides=[stride * itemsize for stride in tensor.strides],
    )
