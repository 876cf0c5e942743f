"""Which parameters are split over devices, by the names of their layers."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
from jax.tree_util import DictKey, KeyPath

from jaxcnn.errors import UserError
from jaxcnn.training.layer_patterns import check_chooses, chosen

# By their names in the networks.
FULLY_CONNECTED = "fc.*|logits"


@dataclasses.dataclass(frozen=True)
class Split:
    """The arrays of which a device holds a part: those of some layers, along their outputs.

    Attributes:
      layers: a regular expression as in ``jaxcnn.training.layer_patterns``; None for the fully
        connected layers, but those whose outputs cannot be divided.
      parts: how many parts there are; 1 splits nothing.
    """

    layers: str | None = None
    parts: int = 1

    @property
    def _pattern(self) -> str:
        return FULLY_CONNECTED if self.layers is None else self.layers

    def applies(self, path: KeyPath, shape: tuple[int, ...]) -> bool:
        """Whether an array of a training state is split, along its last axis.

        A layer's momentum, average and batch statistics end in the same names as its parameters
        and lie as they do. What has no layer's name, such as a loss, is no part of a network.

        Args:
          path: where in the state it is.
          shape: its shape.
        """
        layer = _layer(path)
        return bool(layer and shape) and self.chooses(layer, shape[-1])

    def chooses(self, layer: Sequence[str], outputs: int) -> bool:
        """Whether a layer, by its path of names, is split with so many outputs."""
        return self.parts > 1 and outputs % self.parts == 0 and chosen(self._pattern, layer)

    def names(self, params: Any) -> list[str]:
        """The layers that are split, of a network's parameters or their shapes."""
        leaves = jax.tree_util.tree_leaves_with_path(params)
        found = ["/".join(_layer(path)) for path, x in leaves if self.applies(path, x.shape)]
        return list(dict.fromkeys(found))

    def check(self, params: Any) -> None:
        """Raises a UserError where a network cannot be split so.

        Args:
          params: its parameters, or their shapes: the error is that no layer matches, or that the
            outputs of one that does cannot be divided.
        """
        if self.parts == 1:
            return
        if self.layers is None:
            if not self.names(params):
                raise UserError(
                    f"parallel.model={self.parts} devices can split none of the fully connected "
                    f"layers ({FULLY_CONNECTED}) of this network, for there is none whose outputs "
                    "they divide; give another number, or other layers by parallel.split."
                )
            return
        check_chooses("parallel.split", self.layers, params)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            layer = _layer(path)
            if chosen(self.layers, layer) and leaf.shape[-1] % self.parts:
                raise UserError(
                    f"the {leaf.shape[-1]} outputs of layer '{'/'.join(layer)}' cannot be split "
                    f"over parallel.model={self.parts} devices; leave it out of parallel.split="
                    f"{self.layers}, or choose a parallel.model that divides them."
                )


WHOLE = Split()  # every device holds everything


def _layer(path: KeyPath) -> list[str]:
    """The layer that an array belongs to: the path of names that it ends with, but for its own."""
    names = list(itertools.takewhile(lambda key: isinstance(key, DictKey), reversed(path)))
    return [str(key.key) for key in reversed(names[1:])]
