"""The networks, pure Linen modules: importing this costs jax and flax and nothing else."""

from jaxcnn.models.registry import create_model, list_models, register

__all__ = ["create_model", "list_models", "register"]
