"""What others than the run itself read of its checkpoints: the parameters, and what they are of."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxcnn.errors import UserError
from jaxcnn.training.checkpoint_folder import bytes_in, steps_in
from jaxcnn.training.manifest import damage

T = TypeVar("T")

_MOST_PACKED = 100  # times; a training's state, averages and moments included, is packed by two


def best_checkpoint(workdir: Path) -> Path:
    """The folder of an earlier run's best whole checkpoint, else of its newest.

    Args:
      workdir: the run's work directory.

    Raises:
      UserError: there is no whole checkpoint in it.
    """
    for folder in (workdir / "best", workdir / "checkpoints"):
        steps = steps_in(folder)
        while steps:
            path = folder / str(steps.pop())
            if damage(path) is None:
                return path.resolve()
            if not path.exists():  # its run goes on, and has put another one in its place
                steps = steps_in(folder)
    raise UserError(
        f"{workdir} holds no whole checkpoint to start from; train there first, or name another "
        "work directory."
    )


def read_best(workdir: Path, read: Callable[[Path], T]) -> T:
    """What ``read`` makes of the `best_checkpoint`, or of the next where its run deletes that.

    Raises:
      UserError: there is no whole checkpoint.
    """
    while True:
        checkpoint = best_checkpoint(workdir)
        try:
            return read(checkpoint)
        except Exception:
            if checkpoint.exists():
                raise


def meta_of(checkpoint: Path) -> dict[str, Any]:
    """What was saved beside the state in a whole checkpoint's folder.

    Raises:
      UserError: it is none of ours, whatever its manifest says.
    """
    # As Orbax does it, which would start the devices for that.
    with _of_ours(checkpoint):
        return dict(json.loads((checkpoint / "meta" / "metadata").read_text()))


def tree_of(checkpoint: Path) -> Any:
    """The tree of the state in a whole checkpoint's folder, what is known of each array in it.

    Raises:
      UserError: it is none of ours, whatever its manifest says.
    """
    with _of_ours(checkpoint), ocp.PyTreeCheckpointer() as reader:
        return reader.metadata(checkpoint / "state").item_metadata.tree


def variables_of(checkpoint: Path) -> dict[str, Any]:
    """The ``params`` and ``batch_stats`` in a whole checkpoint's folder, as numpy arrays.

    They are those that were evaluated: the averaged ones where the run kept an average.

    Raises:
      UserError: it is none of ours, whatever its manifest says.
    """
    tree = tree_of(checkpoint)
    with _of_ours(checkpoint), ocp.PyTreeCheckpointer() as reader:
        arrays = jax.tree.leaves(tree)
        if sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays) > _MOST_PACKED * bytes_in(
            checkpoint
        ):
            raise ValueError("it describes more numbers than its files can hold")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        state = reader.restore(checkpoint / "state", restore_args=as_numpy)
        return {
            "params": state.get("ema") or state["params"],
            "batch_stats": state.get("batch_stats") or {},
        }


@contextlib.contextmanager
def _of_ours(checkpoint: Path) -> Iterator[None]:
    """Makes one sentence of all that Orbax raises at a checkpoint that it did not write."""
    before = checkpoint.stat()
    try:
        yield
    except Exception as error:
        if not (checkpoint.exists() and os.path.samestat(before, checkpoint.stat())):
            raise  # its run has deleted it meanwhile, or put another one in its place
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
        raise UserError(
            f"the checkpoint {checkpoint} is none that a run of ours wrote ({reason}); name "
            "another, or copy it again."
        ) from error


def read_variables(workdir: Path) -> dict[str, Any]:
    """`variables_of` the `best_checkpoint` of a work directory."""
    return read_best(workdir, variables_of)
