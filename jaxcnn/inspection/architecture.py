"""A network drawn as a row of boxes, as papers draw it: an SVG of its layers and their maps.

Boxes are as high as the side of a layer's maps and as wide as their channels, both on scales that
let 224 x 224 x 3 and 7 x 7 x 512 stand side by side. Activations, BatchNorm and dropout, which
leave the shape as it is, have no box; neither has what is inside a block of several layers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.inspection.tracing import Call, calls


class _Box(NamedTuple):
    """What is drawn of a layer, of a block of layers, or of the images.

    Attributes:
      name: its path.
      kind: its class; empty for the images.
      shape: of its output for one image, (height, width, channels) or (features,).
    """

    name: str
    kind: str
    shape: tuple[int, ...]


class _Look(NamedTuple):
    """How one kind of box is drawn, and what the legend calls it."""

    words: str
    color: str
    dashed: bool = False


# The colours of Okabe and Ito, which all people tell apart.
_CONVOLUTION = _Look("convolution", "#0072B2")
_POOL = _Look("pool", "#D55E00")
_NORM = _Look("normalisation", "#CC79A7")
_LINEAR = _Look("fully connected", "#009E73")
_BLOCK = _Look("block of layers", "#56B4E9")
_AUXILIARY = _Look("in training only", "#E69F00", dashed=True)
_LOOKS = {
    "Conv": _CONVOLUTION,
    "PartialConvolution": _CONVOLUTION,
    "MaxPool": _POOL,
    "AveragePool": _POOL,
    "Subsampling": _POOL,
    "LocalResponseNorm": _NORM,
    "FullyConnected": _LINEAR,
    "Dense": _LINEAR,
    "RadialBasis": _LINEAR,
    "Auxiliary": _AUXILIARY,
}
_WITHOUT_BOX = ("Activation", "BatchNorm", "Dropout")

# In units of the picture, of which one is a pixel at its natural size.
_TALLEST, _GAP, _MARGIN, _LEGEND, _LEAST_PITCH, _CHARACTER = 150, 5, 12, 34, 17, 5.6


def draw_architecture(model: nn.Module, images: tuple[int, int, int], *, title: str) -> str:
    """The picture of a network, an SVG that needs nothing else and suits any background.

    Args:
      model: the network.
      images: height, width and channels of what it is given.
      title: says what it is, to those who cannot see it too.
    """
    shape = jax.ShapeDtypeStruct((1, *images), jnp.float32)
    # By initialization, which calls what is there in training alone, too.
    made, _ = calls(model.init, jax.eval_shape(lambda: jax.random.key(0)), shape)
    boxes = _boxes(made)
    parts: list[str] = []
    x, longest = float(_MARGIN), 0
    for box in (_Box("images", "", images), *boxes):
        look = _look(box)
        height, width = _size(box.shape, images[0])
        pitch = max(width + _GAP, _LEAST_PITCH)
        left, top = x + (pitch - width) / 2, _LEGEND + (_TALLEST - height) / 2
        stroke = ' stroke-dasharray="3 2"' if look.dashed else ""
        words = f"{box.name} {' × '.join(map(str, box.shape))}"
        at, below = x + pitch / 2 + 3.5, _LEGEND + _TALLEST + 8
        longest = max(longest, len(words))
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"'
            f' fill="{look.color}" fill-opacity="0.45" stroke="{look.color}"{stroke}>'
            f"<title>{escape(words)}</title></rect>"
            f'<text transform="translate({at:.1f} {below}) rotate(-90)" text-anchor="end">'
            f"{escape(words)}</text>"
        )
        x += pitch
    legend, legend_width = _legend(boxes)
    wide, high = max(x, legend_width) + _MARGIN, _LEGEND + _TALLEST + 20 + _CHARACTER * longest
    return (
        '<svg xmlns="http://www.w3.org/2000/svg"'
        f' viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}"'
        f' role="img" aria-label={quoteattr(title)} fill="currentColor"'
        ' font-family="sans-serif" font-size="10">\n'
        f"<title>{escape(title)}</title>\n{legend}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _boxes(made: Sequence[Call]) -> list[_Box]:
    """What is drawn: blocks that have no block inside, and the layers that are in none of them."""
    blocks = {call.path for call in made if call.calls and call.path}
    outer = {b for b in blocks if not any(other[: len(b)] == b for other in blocks - {b})}
    return [
        _Box("/".join(call.path), call.kind, call.output.shape[1:])
        for call in made
        if call.path in outer
        or not (
            call.calls
            or call.kind in _WITHOUT_BOX
            or any(call.path[: len(block)] == block for block in outer)
        )
    ]


def _look(box: _Box) -> _Look:
    if not box.kind:
        return _Look("images", "#888888")
    return _LOOKS.get(box.kind, _BLOCK)


def _size(shape: tuple[int, ...], side: int) -> tuple[float, float]:
    """Height and width of a box; a vector is a column whose height goes by its length."""
    if len(shape) == 1:
        return min(12 + 7 * math.log2(shape[0]), _TALLEST), 8.0
    return max(_TALLEST * math.sqrt(shape[0] / side), 6.0), 3 + 1.8 * math.log2(shape[-1] + 1)


def _legend(boxes: Sequence[_Box]) -> tuple[str, float]:
    """The kinds of boxes that are there, with their names, and how far they reach."""
    looks = dict.fromkeys(_look(box) for box in boxes)
    parts, x = [], float(_MARGIN)
    for look in looks:
        stroke = ' stroke-dasharray="3 2"' if look.dashed else ""
        parts.append(
            f'<rect x="{x:.0f}" y="8" width="10" height="10" fill="{look.color}"'
            f' fill-opacity="0.45" stroke="{look.color}"{stroke}/>'
            f'<text x="{x + 15:.0f}" y="17">{escape(look.words)}</text>'
        )
        x += 30 + _CHARACTER * len(look.words)
    return "".join(parts), x
