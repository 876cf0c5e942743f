"""The classic convolutional networks in JAX and Flax, exact to their papers."""

from typing import TYPE_CHECKING, Any

from jaxcnn.errors import UserError
from jaxcnn.models import create_model, list_models
from jaxcnn.version import __version__

if TYPE_CHECKING:
    from jaxcnn.pretrained import load_pretrained

__all__ = ["UserError", "__version__", "create_model", "list_models", "load_pretrained"]


def __getattr__(name: str) -> Any:
    if name == "load_pretrained":  # imported when it is first asked for
        from jaxcnn.pretrained import load_pretrained

        return load_pretrained
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
