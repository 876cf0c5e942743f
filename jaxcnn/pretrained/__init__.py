"""Weights that others have published: reading their files, and fitting them to our networks."""

from jaxcnn.pretrained.mapping import expected_keys, tensors_to_variables, variables_to_tensors

__all__ = ["expected_keys", "tensors_to_variables", "variables_to_tensors"]
