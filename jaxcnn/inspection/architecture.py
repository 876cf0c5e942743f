"""A network drawn as a row of boxes, as papers draw it: an SVG of its layers and their maps.

Boxes are as high as the side of a layer's maps and as wide as their channels, both on scales that
let 224 x 224 x 3 and 7 x 7 x 512 stand side by side. Activations, BatchNorm and dropout, which
leave the shape as it is, have no box; neither has what is inside a block of several layers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict


class Layer(NamedTuple):
    """A layer or a block of layers.

    Attributes:
      name: its path, as of a feature.
      kind: the name of its class.
      shape: of its output for one image, (height, width, channels) or (features,).
      parameters: how many it has, and what is inside it.
      block: whether other layers are inside it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    block: bool


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


def layers_of(model: nn.Module, images: tuple[int, int, int]) -> list[Layer]:
    """The layers of a network and its blocks in the order in which they end; nothing is computed.

    Args:
      model: the network.
      images: height, width and channels of what it is given.
    """
    found: list[tuple[tuple[str, ...], str, tuple[int, ...]]] = []

    def interceptor(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        output = method(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path:
            kind = type(context.module).__name__
            found.append((context.module.path, kind, output.shape[1:]))
        return output

    def trace(shown: jax.Array) -> Any:
        return model.init(jax.random.key(0), shown)

    with nn.intercept_methods(interceptor):
        variables = jax.eval_shape(trace, jax.ShapeDtypeStruct((1, *images), jnp.float32))
    parameters = flatten_dict(variables.get("params", {}))
    return [
        Layer(
            "/".join(path),
            kind,
            shape,
            sum(math.prod(p.shape) for at, p in parameters.items() if at[: len(path)] == path),
            any(other[: len(path)] == path and other != path for other, _, _ in found),
        )
        for path, kind, shape in found
    ]


def draw_architecture(model: nn.Module, images: tuple[int, int, int], *, title: str) -> str:
    """The picture of a network, an SVG that needs nothing else and suits any background.

    Args:
      model: the network.
      images: height, width and channels of what it is given.
      title: says what it is, to those who cannot see it too.
    """
    boxes = _boxes(layers_of(model, images))
    parts: list[str] = []
    x, longest = float(_MARGIN), 0
    input_ = Layer("images", "", images, 0, False)
    for layer in (input_, *boxes):
        look = _look(layer)
        height, width = _size(layer.shape, images[0])
        pitch = max(width + _GAP, _LEAST_PITCH)
        left, top = x + (pitch - width) / 2, _LEGEND + (_TALLEST - height) / 2
        stroke = ' stroke-dasharray="3 2"' if look.dashed else ""
        words = f"{layer.name} {' × '.join(map(str, layer.shape))}"
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
        f' role="img" aria-label="{escape(title, {chr(34): "&quot;"})}" fill="currentColor"'
        ' font-family="sans-serif" font-size="10">\n'
        f"<title>{escape(title)}</title>\n{legend}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _boxes(layers: Sequence[Layer]) -> list[Layer]:
    """What is drawn: blocks that have no block inside, and the layers that are in none of them."""
    outer = [
        layer.name
        for layer in layers
        if layer.block and not any(o.block and o.name.startswith(f"{layer.name}/") for o in layers)
    ]
    return [
        layer
        for layer in layers
        if layer.name in outer
        or not (
            layer.block
            or layer.kind in _WITHOUT_BOX
            or any(layer.name.startswith(f"{name}/") for name in outer)
        )
    ]


def _look(layer: Layer) -> _Look:
    if not layer.kind:
        return _Look("images", "#888888")
    return _LOOKS.get(layer.kind, _BLOCK)


def _size(shape: tuple[int, ...], side: int) -> tuple[float, float]:
    """Height and width of a box; a vector is a column whose height goes by its length."""
    if len(shape) == 1:
        return min(12 + 7 * math.log2(shape[0]), _TALLEST), 8.0
    return max(_TALLEST * math.sqrt(shape[0] / side), 6.0), 3 + 1.8 * math.log2(shape[-1] + 1)


def _legend(boxes: Sequence[Layer]) -> tuple[str, float]:
    """The kinds of boxes that are there, with their names, and how far they reach."""
    looks = dict.fromkeys(_look(layer) for layer in boxes)
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
