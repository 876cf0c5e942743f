"""The version of the package, and nothing else, so that packaging reads it without importing jax."""

__version__ = "0.1.0"
