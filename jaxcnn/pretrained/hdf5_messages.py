"""The messages of HDF5's object headers that describe numbers and strings.

The methods name the sections of the specification,
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.pretrained.refusal import damaged

# The kinds of messages.
LINK_INFO, DATASPACE, DATATYPE, LINK, EXTERNAL, LAYOUT = 0x02, 0x01, 0x03, 0x06, 0x07, 0x08
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x0B, 0x0C, 0x10, 0x11

# The classes of types.
_WHOLE, _FLOAT, _STRING, _VARIABLE_LENGTH = 0, 1, 3, 9
# By the bytes of all, and the bits of exponent and mantissa.
_FLOATS: dict[tuple[int, int, int], Any] = {
    (2, 5, 10): np.float16,
    (2, 8, 7): ml_dtypes.bfloat16,
    (4, 8, 23): np.float32,
    (8, 11, 52): np.float64,
}
_MOST_AXES = 32
_CONTIGUOUS = 1


@dataclass(frozen=True)
class Type:
    """A datatype message (IV.A.2.d): class, bit field, bytes of one element, properties."""

    kind: int
    bits: int
    size: int
    properties: bytes

    @classmethod
    def of(cls, message: bytes) -> "Type":
        """Takes a message apart."""
        first, *bits, size = struct.unpack_from("<B3BI", message)
        return cls(first & 15, int.from_bytes(bytes(bits), "little"), size, message[8:])

    def dtype(self) -> np.dtype | None:
        """The type of numpy, in the file's byte order; None for what is no number."""
        order = ">" if self.bits & 1 else "<"
        if self.kind == _WHOLE and self.size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if self.bits & 8 else 'u'}{self.size}")
        if self.kind == _FLOAT:
            exponent, mantissa = struct.unpack_from("<5xBxB", self.properties)
            found = _FLOATS.get((self.size, exponent, mantissa))
            return np.dtype(found).newbyteorder(order) if found else None
        return None

    @property
    def is_text(self) -> bool:
        """Whether an element is a string of fixed length."""
        return self.kind == _STRING and self.size > 0

    @property
    def is_long_text(self) -> bool:
        """Whether an element says where a string of any length lies: length, heap and index."""
        return self.kind == _VARIABLE_LENGTH and self.bits & 15 == 1


def shape_of(message: bytes) -> tuple[int, ...]:
    """The axes of a dataspace message (IV.A.2.b)."""
    version, rank, _, null = struct.unpack_from("<4B", message)
    if version not in (1, 2) or (version == 2 and null == 2) or rank > _MOST_AXES:
        raise damaged("has no shape where it says")
    return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)


def contiguous(message: bytes) -> tuple[int, int] | None:
    """Where the numbers lie and their bytes (IV.A.2.i); None for numbers in chunks."""
    version, layout = struct.unpack_from("<BB", message)
    if version not in (3, 4) or layout != _CONTIGUOUS:
        return None
    start, nbytes = struct.unpack_from("<2xQQ", message)
    return start, nbytes


@dataclass(frozen=True)
class Attribute:
    """An attribute message (IV.A.2.m)."""

    name: str
    type: Type
    count: int
    data: bytes

    @classmethod
    def of(cls, message: bytes) -> "Attribute":
        """Takes a message apart.

        Raises:
          Refusal: it is none.
        """
        version, shared, *lengths = struct.unpack_from("<BBHHH", message)
        if version not in (1, 2, 3) or (version > 1 and shared):
            raise damaged("has an attribute of no known kind")
        parts, position = [], 9 if version == 3 else 8
        for length in lengths:
            parts.append(message[position : position + length])
            position += length + (-length % 8 if version == 1 else 0)
        name, kind, space = parts
        count = math.prod(shape_of(space))
        return cls(name.rstrip(b"\0").decode(), Type.of(kind), count, message[position:])
