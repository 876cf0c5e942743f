"""Weights that others have published: reading their files, and fitting them to our networks."""

from jaxcnn.pretrained.hub import save_folder
from jaxcnn.pretrained.loading import load_pretrained
from jaxcnn.pretrained.mapping import expected_keys, tensors_to_variables, variables_to_tensors
from jaxcnn.pretrained.network import Pretrained
from jaxcnn.pretrained.saving import save_weights

__all__ = [
    "Pretrained",
    "expected_keys",
    "load_pretrained",
    "save_folder",
    "save_weights",
    "tensors_to_variables",
    "variables_to_tensors",
]
