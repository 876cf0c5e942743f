"""Photograph-like JPEGs for measuring input with, the same on every machine, and nobody's picture.

Structure of five sizes in colour, with grain that comes and goes; 500 x 375 pixels at quality 90,
75 KB each, as large as ImageNet's photographs of that size are.
"""

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcnn.data.shards import write_records
from jaxcnn.progress import Progress
from jaxcnn.randomness import Purpose, host_generator

NAME = "photographs"
_CLASSES = ("even", "odd")
_WIDTH, _HEIGHT = 500, 375
_STRUCTURE = ((4, 60.0), (12, 40.0), (40, 22.0), (110, 12.0))  # cells across; levels of grey
_GRAIN = 11.0  # levels, where it is strongest


def photograph(index: int) -> np.ndarray:
    """An image, uint8 ``(375, 500, 3)``, a function of its number alone."""
    generator = host_generator(0, Purpose.BENCHMARK, 0, index)

    def field(cells: int, channels: int) -> np.ndarray:
        shape = (max(2, cells * _HEIGHT // _WIDTH), cells, channels)
        values = generator.standard_normal(shape, np.float32)
        size = (_WIDTH, _HEIGHT)
        return cv2.resize(values, size, interpolation=cv2.INTER_CUBIC).reshape(*size[::-1], -1)

    image = np.full((_HEIGHT, _WIDTH, 3), 120, np.float32)
    for cells, levels in _STRUCTURE:  # mostly of light, less of colour
        image += levels * (0.8 * field(cells, 1) + 0.3 * field(cells, 3))
    grain = generator.standard_normal((_HEIGHT, _WIDTH, 1), np.float32)
    image += _GRAIN * grain * np.clip(0.5 + field(6, 1), 0, 1)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_photographs(root: Path, count: int) -> None:
    """Prepares so many of them below `root`, as any data set is prepared, in one file."""
    folder = root / NAME / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=_CLASSES),
        }
    )

    def record(index: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(photograph(index)).save(file, "JPEG", quality=90)
        return features.serialize_example({"image": file.getvalue(), "label": index % 2})

    with Progress(total=count, description="making images") as bar:
        path = folder / f"{NAME}-train.array_record-00000-of-00001"
        write_records(path, map(record, range(count)), bar)
    features.save_config(os.fspath(folder))
    split = {
        "name": "train",
        "numBytes": str(path.stat().st_size),
        "shardLengths": [str(count)],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    described = {
        "name": NAME,
        "version": "1.0.0",
        "description": __doc__,
        "fileFormat": "array_record",
        "splits": [split],
    }
    (folder / "dataset_info.json").write_text(json.dumps(described))
