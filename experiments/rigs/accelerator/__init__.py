"""Checks and measures this code on a GPU or TPU with one command, in a few minutes."""

from experiments.rigs.accelerator.command import main

__all__ = ["main"]
