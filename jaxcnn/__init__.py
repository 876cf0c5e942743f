"""The classic convolutional networks in JAX and Flax, exact to their papers."""

from jaxcnn.errors import UserError
from jaxcnn.models import create_model, list_models
from jaxcnn.version import __version__

__all__ = ["UserError", "__version__", "create_model", "list_models"]
