"""What the references' side and ours each make anew, from names alone: weights, images, probes.

Numpy only, and of numpy only what a bit generator gives out raw, whose stream numpy keeps from
version to version. Sixteen bits make a number, so that a VGG's 138 million take a second.
"""

import math
import re
import zlib
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]

# The last normalisation of a residual block, by torchvision's and by Keras' name. Its scale is
# small: at one, the sum that a residual network carries would double with every block.
LAST_IN_BLOCK = {
    "basic": re.compile(r"layer\d\.\d+\.bn2\.weight"),
    "bottleneck": re.compile(r"layer\d\.\d+\.bn3\.weight|conv\d_block\d+_3_bn/gamma"),
}


def uniform(name: str, shape: Shape) -> np.ndarray:
    """Float32 numbers in [-1, 1), the same for the same name."""
    count = math.prod(shape)
    raw = np.random.SFC64(zlib.crc32(name.encode())).random_raw(-(-count // 4))
    halves = raw.astype("<u8", copy=False).view("<i2")[:count]
    return (halves.astype(np.float32) / 2**15).reshape(shape)


def images(count: int, height: int, width: int) -> np.ndarray:
    """Normalised images of noise, shape (count, height, width, 3)."""
    return np.float32(math.sqrt(3)) * uniform(f"images {height} {width}", (count, height, width, 3))


def weight(name: str, shape: Shape, *, damped: bool = False) -> np.ndarray:
    """The tensor of a reference's layer, which its name tells the kind of.

    Kernels have He's variance, so that activations keep their scale whatever the depth; nothing
    is 0 or 1 where a mistake could hide behind it.

    Args:
      name: as the reference has it; ``.weight`` is PyTorch's, ``/kernel`` Keras'.
      shape: in the reference's layout.
      damped: it is the last scale of a residual block.
    """
    kind = re.split(r"[./]", name)[-1]
    numbers = uniform(name, shape)
    if kind == "weight" and len(shape) > 1:
        return numbers * np.float32(math.sqrt(6 / math.prod(shape[1:])))
    if kind == "kernel":
        return numbers * np.float32(math.sqrt(6 / math.prod(shape[:-1])))
    if kind in ("weight", "gamma"):
        return (1 + numbers / 4) / (4 if damped else 1)
    if kind in ("running_var", "moving_variance"):
        return 1 + numbers / 2
    return numbers / 4  # biases and running means


def weights(shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """All tensors of a reference network, float32, by name.

    Args:
      shapes: of its tensors by name; PyTorch's counters of batches may be left out.
    """
    bottleneck = any(LAST_IN_BLOCK["bottleneck"].fullmatch(name) for name in shapes)
    last = LAST_IN_BLOCK["bottleneck" if bottleneck else "basic"]
    return {
        name: weight(name, shape, damped=bool(last.fullmatch(name)))
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }


def probe(x: np.ndarray, count: int = 24) -> np.ndarray:
    """An array in brief: its mean, its standard deviation, and ``count`` elements spread over it.

    Args:
      x: of any shape; a map in the order (batch, height, width, channels).
      count: elements to take.
    """
    places = np.linspace(0, x.size - 1, count).astype(np.int64)
    return np.concatenate([[x.mean(), x.std()], x.reshape(-1)[places]])


def projection(name: str, x: np.ndarray) -> float:
    """The inner product of an array, in the reference's layout, with random numbers of its own."""
    return float(np.vdot(uniform(f"projection of {name}", x.shape).astype(np.float64), x))
