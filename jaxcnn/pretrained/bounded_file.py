"""A file whose bytes are counted before room is made for them."""

from dataclasses import dataclass
from io import BufferedReader

import numpy as np

from jaxcnn.pretrained.refusal import damaged


@dataclass(frozen=True)
class BoundedFile:
    """An open file that cannot make its reader allocate more than it holds.

    Attributes:
      opened: the file, opened for reading bytes.
      size: how many it holds.
    """

    opened: BufferedReader
    size: int

    def read(self, start: int, length: int) -> np.ndarray:
        """The bytes from ``start`` on, ``(length,)`` uint8.

        Raises:
          Refusal: the file does not hold that many.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise damaged("ends before what it says that it holds")
        content = np.empty(length, np.uint8)
        self.opened.seek(start)
        if self.opened.readinto(content.data) != length:
            raise damaged("became shorter while it was read")
        return content
