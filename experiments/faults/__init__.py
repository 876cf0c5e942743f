"""Runs that are killed, stopped, damaged and moved, and compared with one that was not."""
