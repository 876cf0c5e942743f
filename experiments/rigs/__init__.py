"""Rigs: commands that measure this code on a machine and write what they found as JSON."""
