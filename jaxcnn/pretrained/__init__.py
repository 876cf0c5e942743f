"""Weights that others have published: reading their files, and fitting them to our networks."""
