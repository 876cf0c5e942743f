"""Networks as StableHLO, by ``jax.export``: a file that needs JAX to run, and nothing of ours.

The weights are constants within it, so that the file is all there is; it is as large as they are.
It runs on CPUs, on CUDA's GPUs and on TPUs, for batches of any size:

    from jax import export

    network = export.deserialize(open("vgg16.stablehlo", "rb").read())
    probabilities = network.call(images)
"""

import os
from pathlib import Path

from jax import export, jit

from jaxcnn.exporting.classify import Classifying
from jaxcnn.files import write_atomically

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(path: str | os.PathLike[str], classifying: Classifying) -> None:
    """Writes a function to a file, whole or not at all.

    Args:
      path: of the file.
      classifying: the function.

    Raises:
      UserError: the file cannot be written.
    """
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jit(classifying.function), platforms=PLATFORMS)(
        classifying.images(batch)
    )
    write_atomically(Path(path), bytes(exported.serialize()))
