"""Files of weights in the safetensors format (https://github.com/huggingface/safetensors)."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401 - makes numpy know bfloat16 by its name
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxcnn.files import write_atomically
from jaxcnn.pretrained.refusal import Refusal, damaged, shown


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of the file in the order in which they lie in it, and its header's metadata.

    Raises:
      Refusal: the file is damaged, or holds numbers of a kind that numpy lacks.
    """
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.offset_keys():
                try:
                    tensors[name] = file.get_tensor(name)
                except (AttributeError, TypeError) as error:
                    kind = file.get_slice(name).get_dtype()
                    raise Refusal(
                        f"holds {shown(name)} as {kind}, which is not read: convert it to F32."
                    ) from error
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise damaged(f"is no whole safetensors file ({shown(str(error))})") from error


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays by name, whole or not at all.

    The library writes an array's memory as it lies, so that a transposed view would come out wrong:
    every array is made contiguous first.

    Args:
      path: where to; a file there is replaced.
      tensors: numpy's arrays or JAX's, bfloat16 among them.
      metadata: text by name, for the header; PyTorch's readers look for ``{'format': 'pt'}``.

    Raises:
      UserError: the file system does not take it.
    """
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, dict(metadata) if metadata else None))
