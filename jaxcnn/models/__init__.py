"""The networks, pure Linen modules: importing this costs jax and flax and nothing else."""

from jaxcnn.models.features import feature_names, features
from jaxcnn.models.registry import create_model, list_models, register
from jaxcnn.models.vgg import (
    VGG,
    VGG11,
    VGG11BN,
    VGG11LRN,
    VGG13,
    VGG13BN,
    VGG16,
    VGG16BN,
    VGG16C,
    VGG16CBN,
    VGG19,
    VGG19BN,
    VGG16Average,
    VGGSmall,
)

__all__ = [
    "VGG",
    "VGG11",
    "VGG11BN",
    "VGG11LRN",
    "VGG13",
    "VGG13BN",
    "VGG16",
    "VGG16BN",
    "VGG16C",
    "VGG16CBN",
    "VGG19",
    "VGG19BN",
    "VGG16Average",
    "VGGSmall",
    "create_model",
    "feature_names",
    "features",
    "list_models",
    "register",
]
