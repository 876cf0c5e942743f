"""All that a protocol of evaluation shows of each image, read one image at a time, in order."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode
from jaxcnn.data.sources import Source
from jaxcnn.data.views import pad, rescale
from jaxcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Shown:
    """What is shown of an image.

    Attributes:
      scale: what the image's shorter side is rescaled to, in pixels.
      cut: makes the views, uint8, of the rescaled and padded image, uint8 of shape ``(height,
        width, channels)``; it can be pickled.
    """

    scale: int
    cut: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageViews:
    """The views of every image of this process, ``views[number]``, for `read_ahead`.

    Process i of n has the images i, i + n, i + 2n, ... of the source. Of each there are
    ``'view0'``, ``'view1'``, ... (uint8, by what is shown), ``'label'`` and ``'index'`` (int64),
    ``'name'`` (uint8: UTF-8) and ``'weight'``: 1, or 0 for an image that could not be read and has
    no views, where `DataConfig.on_error` skips those.

    Attributes:
      source: the images.
      config: their form.
      shown: what is shown of each; it is decoded for each anew, as large as that needs.
      process_index: which of the processes that share the source this is.
      process_count: how many they are.
    """

    source: Source
    _: dataclasses.KW_ONLY
    config: DataConfig
    shown: tuple[Shown, ...]
    process_index: int = 0
    process_count: int = 1

    def __len__(self) -> int:
        return max(0, -(-(len(self.source) - self.process_index) // self.process_count))

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        """The views of an image, and what is known of it."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no image {number} of {len(self)}")
        index = number * self.process_count + self.process_index
        facts = {"index": np.array(index), "weight": np.array(0)}
        try:
            data, label, name = self.source[index]
            views = [self._view(data, name, shown) for shown in self.shown]
        except UserError:
            if self.config.on_error == "stop":
                raise
            return facts
        return {
            **facts,
            **{f"view{number}": view for number, view in enumerate(views)},
            "label": np.array(label),
            "name": np.frombuffer(os.fsencode(name), np.uint8),
            "weight": np.array(1),
        }

    def _view(self, data: bytes, name: str, shown: Shown) -> np.ndarray:
        channels = self.config.channels or self.source.channels
        image = decode(data, channels, shorter_side=shown.scale, name=name)
        view = shown.cut(pad(rescale(image, shown.scale), self.config.padding))
        return np.ascontiguousarray(view)
