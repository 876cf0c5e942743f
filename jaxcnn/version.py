"""The version of the package, and nothing else: packaging reads it without importing jax."""

__version__ = "0.1.0"
