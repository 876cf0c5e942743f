"""Where a result was had: the hardware, and the versions that it may depend on, in words."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxcnn.version import __version__


def hardware(devices: Sequence[jax.Device]) -> str:
    """Platform, devices and processes in words, such as ``'cpu (8 devices, 1 process)'``."""
    kind = devices[0].device_kind
    name = devices[0].platform if kind == devices[0].platform else f"{devices[0].platform} {kind}"
    count, processes = len(devices), jax.process_count()
    return (
        f"{name} ({count} device{'s' * (count > 1)}, {processes} process{'es' * (processes > 1)})"
    )


def processor() -> str:
    """The CPU and how many of its threads there are, in words."""
    try:
        described = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        described = []
    names = [line.partition(":")[2].strip() for line in described if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} threads"


def versions() -> dict[str, str]:
    """The versions that a result may depend on; a package that is not installed has none."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    found = {"jaxcnn": __version__, "python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
