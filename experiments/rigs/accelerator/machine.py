"""The machine: versions, devices, and the speed of its matrix products."""

import importlib.metadata
import os
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments import environment
from experiments.benchmark import matrix_product_peak
from jaxcnn.training.devices import ParallelConfig, make_layout

_ROOT = Path(__file__).parents[3]
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "scikit-learn")
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "torch", "torchvision")


def describe() -> dict[str, Any]:
    """What every figure depends on: versions, devices and their memory in bytes, the commit."""
    devices = jax.devices()
    memory = (devices[0].memory_stats() or {}).get("bytes_limit")
    return {
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "device_memory_bytes": memory,
        "platform_version": " ".join(devices[0].client.platform_version.split()),
        "versions": environment.versions() | _versions(),
        "processor": environment.processor(),
        "xla_flags_of_the_checks": os.environ.get("XLA_FLAGS", ""),
        "commit": _commit(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in (*_PACKAGES, *_PLUGINS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """By a file ``commit`` beside the packages, which a copy without a repository may have."""
    try:
        return (_ROOT / "commit").read_text().strip() or None
    except OSError:
        pass
    command = ["git", "-C", str(_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def peak(dtype: str, rounds: int) -> dict[str, Any]:
    """Floating-point operations per second of square matrix products on one device.

    Args:
      dtype: of the matrices. A float32 product uses the precision that jax has by default, which
        on a GPU is TF32 and on a TPU bfloat16.
      rounds: of which the fastest counts.
    """
    layout = make_layout(ParallelConfig(devices=1))
    measured = matrix_product_peak(layout, jnp.dtype(dtype), rounds=rounds)
    return {"dtype": dtype, "teraflop_per_second": measured / 1e12}
