"""To the bit the same on a GPU: what XLA must be told before its devices start.

A GPU adds up in any order where threads meet, and measures at every start which of several
algorithms is fastest; both change the last bits from run to run. The flag rules out both: additions
in any order, scattered ones among them, give way to those in one order, and an algorithm is chosen
without being timed, of cuDNN only among those that it calls deterministic. No step of training here
needs what the flag would make slow, or refuse: there is no select-and-scatter and no scattered
addition in any.
"""

import os

import jax

from jaxcnn.errors import UserError

_FLAG = "--xla_gpu_deterministic_ops"


def demand_determinism() -> None:
    """Has XLA compute deterministically on GPUs, in this process and those that it starts.

    Raises:
      UserError: the devices have started, with whatever XLA was told before, or XLA_FLAGS says the
        opposite.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    given = [flag for flag in flags if flag.partition("=")[0] == _FLAG]
    if given and given[-1].partition("=")[2].lower() in ("false", "0"):
        raise UserError(
            f"deterministic computation is asked for, and XLA_FLAGS says {given[-1]}; take one of "
            "them back."
        )
    if given:
        return
    if _started():
        raise UserError(
            "deterministic computation is asked for too late: jax has started its devices; ask "
            f"before anything is computed, or set XLA_FLAGS={_FLAG}=true."
        )
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"{_FLAG}=true"])


def _started() -> bool:
    """Whether jax has started its devices: from then on their number is not to be changed."""
    name = "jax_num_cpu_devices"
    number = jax.config.values[name]
    try:
        jax.config.update(name, number + 2)  # any other number
    except RuntimeError:
        return True
    jax.config.update(name, number)
    return False
