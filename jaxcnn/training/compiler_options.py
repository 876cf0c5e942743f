"""Options under which XLA compiles steps for CPU: the same numbers but for rounding, sooner."""

import functools

import jax
import jax.numpy as jnp

# As jax 0.10 has it but for convolutions: these it hands to YNNPACK, which is up to seven times
# slower than XLA's own in the gradient of a kernel (3x3, 224x224x64, on two cores: 49 GFLOP/s and
# 286) and slower by some percent in the rest.
_CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
    )
}


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """What ``jax.jit`` takes as ``compiler_options`` on a platform, such as 'cpu'.

    Empty where there are none, or this jaxlib does not know them: their names may go.
    """
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_CPU).lower(jnp.zeros(())).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return _CPU
