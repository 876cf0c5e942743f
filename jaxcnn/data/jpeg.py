"""A part of a JPEG decoded without the rest, by libjpeg-turbo 3 where it is at hand.

A JPEG is entropy-coded from its top left to its bottom right: of what lies above and beside the
part only the codes are read, and of what lies below, nothing. The pixels are those of the whole
image, bit for bit: this library and Pillow's have the same inverse DCT and the same interpolation
of colour. (Without that interpolation, version 2.1.92 writes where it must not when it decodes a
part, so it stays on.)
"""

import ctypes
import ctypes.util
import functools
import importlib.metadata
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcnn.errors import UserError

# Of the TurboJPEG API, turbojpeg.h: the kind of a handle, pixel formats, parameters, colour spaces.
_DECOMPRESS = 1
_FORMATS = {1: 6, 3: 0}
_PARAMETERS = (6, 5, 7, 8, 4, 12, 15)  # height, width, precision, colour space, subsampling,
# and whether it is progressive, and lossless.
_YCBCR, _GREY = 1, 2
_BLOCK_WIDTHS = {0: 8, 1: 16, 2: 16, 3: 8, 4: 8, 5: 32, 6: 8}  # pixels, by chroma subsampling

_MOST_PIXELS = 2**25  # held at once, in every thread; larger ones are for Pillow to judge
_MARGIN = 2  # pixels whose colour the interpolation mixes into that of the part's edge
_END = b"\xff\xd9"


class Window(NamedTuple):
    """A rectangle of an image: its first row and column, and how many there are, in pixels."""

    top: int
    left: int
    rows: int
    columns: int


class _Factor(ctypes.Structure):
    _fields_ = (("numerator", ctypes.c_int), ("denominator", ctypes.c_int))


class _Region(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in ("x", "y", "width", "height"))


Choice = tuple[Window, int]
"""A part of an image reduced to 1/d of its size, in the pixels of the reduced image, and d."""


def decode_window(
    data: bytes, channels: int, choose: Callable[[int, int], Choice]
) -> np.ndarray | None:
    """A part of a JPEG, decoded at full, 1/2, 1/4 or 1/8 scale.

    Damage that lies behind the part is not met.

    Args:
      data: the file's bytes.
      channels: 1 for grey, 3 for RGB.
      choose: of an image's height and width, the part and the scale; at a scale of 1/d the sides
        are those of the whole image divided by d and rounded up.

    Returns:
      uint8, shape ``(rows, columns, channels)``; its rows need not follow one another in memory.
      None where Pillow is asked instead: the library is missing, or this is no JPEG, a progressive
      one, one in CMYK, a damaged or a truncated one.
    """
    if not data.startswith(b"\xff\xd8") or not data.endswith(_END):
        return None
    library = _library()
    if library is None:
        return None
    handle = _Handle.of_thread(library)
    if library.tj3DecompressHeader(handle, data, len(data)):
        _Handle.forget()
        return None
    height, width, precision, colors, subsampling, *others = (
        library.tj3Get(handle, each) for each in _PARAMETERS
    )
    if precision != 8 or colors not in (_YCBCR, _GREY) or any(others):
        return None
    if subsampling not in _BLOCK_WIDTHS or height * width > _MOST_PIXELS:
        return None
    window, reduction = choose(height, width)
    region = _region(window, -(-width // reduction), _BLOCK_WIDTHS[subsampling] // reduction)
    pixels = np.empty((region.height, region.width, channels), np.uint8)
    if (
        library.tj3SetScalingFactor(handle, _Factor(1, reduction))
        or library.tj3SetCroppingRegion(handle, region)
        or library.tj3Decompress8(
            handle, data, len(data), pixels.ctypes.data, 0, _FORMATS[channels]
        )
    ):
        _Handle.forget()
        return None
    left = window.left - region.x
    return pixels[:, left : left + window.columns]


def _region(window: Window, width: int, block: int) -> _Region:
    """What is decoded for a window: whole blocks to its left, and a margin."""
    left = max(0, window.left - _MARGIN) // block * block
    right = min(width, window.left + window.columns + _MARGIN)
    return _Region(left, window.top, right - left, window.rows)


def check_library() -> None:
    """Raises `UserError` where there is no libjpeg-turbo 3."""
    if _library() is None:
        raise UserError(
            "data.decode='fast' needs libjpeg-turbo 3; `pip install 'jaxcnn[turbojpeg]'`, or leave "
            "it at 'exact'."
        )


class _Handle:
    """A decompressor of one thread, freed with it."""

    _threads = threading.local()

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._library = library
        self.pointer = library.tj3Init(_DECOMPRESS)

    def __del__(self) -> None:
        self._library.tj3Destroy(self.pointer)

    @classmethod
    def of_thread(cls, library: ctypes.PyDLL) -> int:
        if not hasattr(cls._threads, "handle"):
            cls._threads.handle = cls(library)
        return cls._threads.handle.pointer

    @classmethod
    def forget(cls) -> None:
        """Frees this thread's; one that has met damage may refuse whatever comes next."""
        del cls._threads.handle


@functools.cache
def _library() -> ctypes.PyDLL | None:
    """The system's, which its distribution mends, or else that of the package ``turbojpeg``."""
    for path in filter(None, (ctypes.util.find_library("turbojpeg"), _packaged())):
        try:
            return _described(path)
        except (OSError, AttributeError):  # none, or one from before version 3
            continue
    return None


def _packaged() -> str | None:
    try:
        files = importlib.metadata.files("turbojpeg") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [file for file in files if file.name.startswith("libturbojpeg")]
    return os.fspath(found[0].locate()) if found else None


def _described(path: str) -> ctypes.PyDLL:
    library = ctypes.PyDLL(path)
    # Only what takes long gives up the interpreter's lock, which costs more than the other calls.
    vars(library)["tj3Decompress8"] = ctypes.CDLL(path).tj3Decompress8
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.tj3Init.restype = pointer
    library.tj3Destroy.restype = None
    for name, arguments in {
        "tj3Init": (integer,),
        "tj3Destroy": (pointer,),
        "tj3Get": (pointer, integer),
        "tj3DecompressHeader": (pointer, ctypes.c_char_p, size),
        "tj3SetScalingFactor": (pointer, _Factor),
        "tj3SetCroppingRegion": (pointer, _Region),
        "tj3Decompress8": (pointer, ctypes.c_char_p, size, pointer, integer, integer),
    }.items():
        getattr(library, name).argtypes = arguments
    return library
