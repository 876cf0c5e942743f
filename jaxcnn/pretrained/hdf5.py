"""The part of HDF5 in which Keras' weights are written.

The HDF5 library is not used, because it is not safe on a file from elsewhere: within 1,500 copies
of a file of Keras, each with a few bytes changed, version 2.0.0 crashed or ran without end for six
files of eight. What is read here is what h5py writes unless it is told otherwise: groups as symbol
tables, numbers in one piece, strings of fixed and of variable length as attributes. All else (links
to elsewhere, chunks and filters, the newer groups) is refused.

The methods name the sections of the specification,
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""

import math
import struct
from collections.abc import Iterator
from functools import cached_property

import ml_dtypes
import numpy as np

from jaxcnn.pretrained import hdf5_messages as messages
from jaxcnn.pretrained.bounded_file import BoundedFile
from jaxcnn.pretrained.refusal import Refusal, damaged, shown

# All that is not numbers: a hundred times what describes the largest network of Keras.
_MOST_DESCRIPTION = 2**26
_COST_OF_READING = 128
_LONGEST_NAME = 2**10
_SHARED = 2  # the flag of a message that lies elsewhere


class Hdf5File:
    """A file of HDF5; what it holds is reached from its `root`.

    Args:
      file: the file.

    Raises:
      Refusal: it is of a newer form than h5py writes by itself.
    """

    def __init__(self, file: BoundedFile) -> None:
        self._file = file
        self._numbers_left = file.size
        self._left = _MOST_DESCRIPTION
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        version, offset_bytes, length_bytes, base, end = self.unpack(8, "<B4xBB9xQ8xQ")  # II.A
        if (version, offset_bytes, length_bytes, base) != (0, 8, 8, 0):
            raise Refusal(
                "is an HDF5 file of another form than Keras writes: save it again from Keras, or "
                "with libver='earliest' of h5py."
            )
        if end > file.size:
            raise damaged(f"has {file.size} of its {end} bytes")
        (self._root,) = self.unpack(64, "<Q")

    @property
    def root(self) -> "Node":
        """The group that holds all others."""
        return Node(self, self._root, "/")

    def read(self, start: int, length: int) -> bytes:
        """Bytes that describe; of all of them together there is a bound."""
        self._left -= length + _COST_OF_READING
        if self._left < 0:
            raise damaged("describes itself at a length without reason")
        return self._file.read(start, length).tobytes()

    def unpack(self, start: int, form: str) -> tuple:
        """Numbers that describe, by a form of ``struct``."""
        return struct.unpack(form, self.read(start, struct.calcsize(form)))

    def numbers(self, start: int, length: int) -> np.ndarray:
        """Bytes that are numbers, uint8; all of them together are no more than the file's."""
        self._numbers_left -= length
        if self._numbers_left < 0:
            raise damaged("has more numbers than bytes")
        return self._file.read(start, length)

    def text(self, length: int, heap: int, index: int) -> str:
        """A string of variable length out of a global heap (III.E)."""
        if length == 0:
            return ""
        if heap not in self._heaps:
            self._heaps[heap] = self._heap(heap)
        start, held = self._heaps[heap].get(index, (0, 0))
        if length > min(held, _LONGEST_NAME):
            raise damaged("has no name where it says")
        return self.read(start, length).rstrip(b"\0").decode()

    def _heap(self, address: int) -> dict[int, tuple[int, int]]:
        """Where the strings of a global heap begin, and how many bytes each holds."""
        signature, size = self.unpack(address, "<4s4xQ")
        if signature != b"GCOL":
            raise damaged("has no names where it says")
        entries, position = {}, address + 16
        while position + 16 <= address + size:
            index, held = self.unpack(position, "<H6xQ")
            if index == 0:  # the free space at the end
                break
            entries[index] = position + 16, held
            position += 16 + held + -held % 8
        return entries


class Node:
    """A group or a set of numbers.

    Args:
      file: the file that it is in.
      address: where its object header lies.
      path: its name, from the root on.
    """

    def __init__(self, file: Hdf5File, address: int, path: str) -> None:
        self._path = path
        self._file = file
        self.address = address

    @cached_property
    def _messages(self) -> list[tuple[int, bytes]]:
        """The messages of the object header (IV.A.1.a), by their kinds."""
        version, count, length = self._file.unpack(self.address, "<BxH4xI4x")
        if version != 1:
            raise damaged("has no object where it says")
        found: list[tuple[int, bytes]] = []
        blocks = [(self.address + 16, length)]
        for start, length in blocks:
            block = self._file.read(start, length)
            position = 0
            while position + 8 <= length and len(found) < count:
                kind, size, flags = struct.unpack_from("<HHB", block, position)
                content = block[position + 8 : position + 8 + size]
                if kind == messages.CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", content))
                if flags & _SHARED:
                    kind = -kind  # what stands here is where the message is
                found.append((kind, content))
                position += 8 + size
        return found

    @cached_property
    def _attributes(self) -> dict[str, messages.Attribute]:
        parts = (messages.Attribute.of(m) for k, m in self._messages if k == messages.ATTRIBUTE)
        return {attribute.name: attribute for attribute in parts}

    def _message(self, kind: int) -> bytes | None:
        return next((content for each, content in self._messages if each == kind), None)

    @cached_property
    def _children(self) -> dict[str, int | None]:
        """The addresses of what a group holds, by name; None for a link that leads elsewhere."""
        if any(kind in (messages.LINK_INFO, messages.LINK) for kind, _ in self._messages):
            raise Refusal("is an HDF5 file with the groups of 'latest': save it again from Keras.")
        table = self._message(messages.SYMBOL_TABLE)
        if table is None:
            return {}
        tree, heap = struct.unpack_from("<QQ", table)
        signature, size, names = self._file.unpack(heap, "<4s4xQ8xQ")  # III.D
        if signature != b"HEAP":
            raise damaged("has no names where it says")
        heap_content = self._file.read(names, size)
        children: dict[str, int | None] = {}
        for node in self._symbol_nodes(tree):
            signature, count = self._file.unpack(node, "<4s2xH")  # III.B
            if signature != b"SNOD":
                raise damaged("has no group where it says")
            entries = self._file.read(node + 8, 40 * count)
            for name_at, address, cached in struct.iter_unpack("<QQI20x", entries):
                end = heap_content.find(b"\0", name_at, name_at + _LONGEST_NAME)
                if end < 0:
                    raise damaged("has no name where it says")
                name = heap_content[name_at:end].decode()
                children[name] = None if cached == 2 else address
        return children

    def _symbol_nodes(self, tree: int) -> Iterator[int]:
        """The leaves of a group's B-tree (III.A.1), from left to right."""
        waiting: list[tuple[int, int | None]] = [(tree, None)]
        while waiting:
            address, expected = waiting.pop()
            if expected == -1:
                yield address
                continue
            signature, kind, level, count = self._file.unpack(address, "<4sBBH")
            if (signature, kind) != (b"TREE", 0) or expected not in (None, level):
                raise damaged("has no group where it says")
            pairs = struct.iter_unpack("<8xQ", self._file.read(address + 24, 16 * count))
            waiting += [(child, level - 1) for (child,) in pairs][::-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __contains__(self, name: str) -> bool:
        return name in self._children

    def child(self, path: str) -> "Node":
        """What lies at a path of names below this group.

        Raises:
          Refusal: nothing does, or a link to elsewhere, which is not followed.
        """
        node = self
        for name in path.split("/"):
            if name not in node:
                raise damaged(f"lacks its part {shown(path)}")
            address = node._children[name]
            if address is None:
                raise Refusal(f"holds at {shown(path)} a link to elsewhere: it is not followed.")
            node = Node(self._file, address, f"{node._path}/{name}".replace("//", "/"))
        return node

    def strings(self, attribute: str) -> list[str]:
        """The strings of an attribute (IV.A.2.m), none where there is no such attribute."""
        found = self._attributes.get(attribute)
        if found is None or found.count == 0:
            return []
        width, count = found.type.size, found.count
        if found.type.is_text and width * count <= len(found.data):
            starts = range(0, width * count, width)
            return [found.data[at : at + width].rstrip(b"\0 ").decode() for at in starts]
        if found.type.is_long_text and 16 * count <= len(found.data):
            elements = struct.iter_unpack("<IQI", found.data[: 16 * count])
            return [self._file.text(*element) for element in elements]
        raise damaged("has names that are no strings")

    def array(self) -> np.ndarray:
        """The numbers of a data set, in this machine's byte order.

        Raises:
          Refusal: this is no data set, or one of a form that Keras does not write.
        """
        layout, space, kind = (
            self._message(m) for m in (messages.LAYOUT, messages.DATASPACE, messages.DATATYPE)
        )
        if layout is None or space is None or kind is None:
            raise damaged(f"has no numbers at {shown(self._path)}")
        if self._message(messages.EXTERNAL) is not None:
            raise Refusal(f"keeps {shown(self._path)} in another file, which is not read.")
        place = messages.contiguous(layout)
        if place is None or self._message(messages.FILTERS) is not None:
            raise Refusal(
                f"holds {shown(self._path)} in chunks or compressed, as Keras does not write it: "
                "unpack it with h5repack -l CONTI -f NONE."
            )
        dtype, shape = messages.Type.of(kind).dtype(), messages.shape_of(space)
        if self.strings("dtype") == ["bfloat16"]:  # which HDF5 holds as bytes without a meaning
            dtype = np.dtype(ml_dtypes.bfloat16)
        if dtype is None:
            raise Refusal(
                f"holds {shown(self._path)} in a type that is not read: save it as float32."
            )
        start, nbytes = place
        if nbytes != math.prod(shape) * dtype.itemsize:
            raise damaged(f"has at {shown(self._path)} data of another size than their shape says")
        content = self._file.numbers(start if nbytes else 0, nbytes)
        return content.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
