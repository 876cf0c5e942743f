"""The mean image of a training set, which some networks want subtracted, as a value."""

import base64
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_FLOAT32 = np.dtype("<f4")


@dataclasses.dataclass(frozen=True)
class MeanImage:
    """The mean of each pixel and channel over a training set, in grey levels of 0 to 255.

    It is compared and hashed by its values, as what holds it is.

    Attributes:
      shape: height, width and channels.
      values: float32 in that order, the least significant byte first.
    """

    shape: tuple[int, int, int]
    values: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if len(self.values) != _FLOAT32.itemsize * math.prod(self.shape):
            raise ValueError(f"{len(self.values)} bytes are not a float32 image of {self.shape}")

    @classmethod
    def of(cls, image: np.ndarray) -> "MeanImage":
        """Of an array ``(height, width, channels)``, rounded to float32."""
        height, width, channels = image.shape
        return cls((height, width, channels), image.astype(_FLOAT32).tobytes())

    @property
    def array(self) -> np.ndarray:
        """float32, shape ``(height, width, channels)``."""
        return np.frombuffer(self.values, _FLOAT32).reshape(self.shape)

    def to_json(self) -> dict[str, Any]:
        """The shape, and the values in base64 (0.8 MB for 224 x 224 pixels in colour)."""
        return {"shape": list(self.shape), "float32": base64.b64encode(self.values).decode()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "MeanImage":
        """What `to_json` gave, through a file or not.

        Raises:
          ValueError: the values are no base64, or do not fit the shape.
        """
        height, width, channels = fields["shape"]
        values = base64.b64decode(fields["float32"], validate=True)
        return cls((height, width, channels), values)
