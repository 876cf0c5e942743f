"""Checkpoints by Orbax: asynchronous, atomic, the newest and the best, and verified when read.

A checkpoint is a folder named by its step with the items ``state`` (the arrays), ``meta`` (the
configuration, the versions and the format's version, as JSON) and ``manifest`` (a SHA-256 of every
file, written last, before the folder gets its final name). One without a manifest is unfinished.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxcnn.errors import UserError

# Orbax logs every file that it looks for; what the user needs to know, we say.
logging.getLogger("absl").setLevel(logging.ERROR)

FORMAT_VERSION = 2
_MANIFEST = Path("manifest") / "manifest.json"
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, and how many stay.

    Attributes:
      every_steps: steps between two checkpoints within an epoch; None for none. One is written at
        the end of every epoch anyway, and when the run is asked to stop.
      keep: how many of the newest stay; the best by the monitored metric stays besides.
    """

    every_steps: int | None = None
    keep: int = 2

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        if self.every_steps is not None and self.every_steps < 1:
            raise UserError(
                f"checkpoint.every_steps={self.every_steps} must be 1 or more, or none."
            )
        if self.keep < 1:
            raise UserError(
                f"checkpoint.keep={self.keep} must be 1 or more: a run continues from it."
            )


def _checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below ``folder`` but the manifest, by its path within it."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        if name == _MANIFEST:
            continue
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        found[name.as_posix()] = digest.hexdigest()
    return found


def damage(folder: Path) -> str | None:
    """What is wrong with the checkpoint in ``folder``, in a few words; None for nothing."""
    try:
        manifest: Mapping[str, str] = json.loads((folder / _MANIFEST).read_text())
    except FileNotFoundError:
        return "it has no manifest, so it was never finished"
    except (OSError, ValueError):
        return "its manifest cannot be read"
    found = _checksums(folder)
    for name, checksum in manifest.items():
        if name not in found:
            return f"its file {name} is missing"
        if found[name] != checksum:
            return f"its file {name} has changed since it was written"
    return None


def _tree_on_disk(path: Path) -> Any:
    """The tree of a saved state, with what is known of each array in its place."""
    with ocp.PyTreeCheckpointer() as reader:
        return reader.metadata(path).item_metadata.tree


def _shapes_on_disk(path: Path) -> dict[str, tuple[int, ...]]:
    flat = ocp.tree.to_flat_dict(_tree_on_disk(path), sep="/")
    return {name: leaf.shape for name, leaf in flat.items() if hasattr(leaf, "shape")}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by the name that Orbax saves it under."""
    flat = ocp.tree.to_flat_dict(ocp.tree.serialize_tree(tree, keep_empty_nodes=True), sep="/")
    return {name: leaf.shape for name, leaf in flat.items() if hasattr(leaf, "shape")}


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which asks nobody whether the run is to stop.

    Its questions are numbered by the steps, those of `StopRequest` by how often it is asked, and
    `jax.distributed`, which answers both, knows one numbering.
    """

    def reached_preemption(self, step: int) -> bool:
        """Never: the loop sees to that."""
        del step
        return False


class Checkpoints:
    """One folder of checkpoints, of which the ``keep`` newest stay.

    Every process of a run makes one and calls the same methods in the same order.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder.resolve()
        self._manager = _Manager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                cleanup_tmp_directories=True,
                # Several processes meet under names, and a run's two folders are written at once.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=folder.name
                ),
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
            ),
        )

    def _write_manifest(self) -> None:
        """Called by Orbax when all files are there and the folder has not yet its final name."""
        if jax.process_index() != 0:
            return
        for unfinished in self.folder.glob("*.orbax-checkpoint-tmp*"):
            # A metadata file that Orbax may rewrite on committing is not the state's.
            sums = {n: s for n, s in _checksums(unfinished).items() if "/" in n}
            (unfinished / _MANIFEST).parent.mkdir(exist_ok=True)
            (unfinished / _MANIFEST).write_text(json.dumps(sums, indent=1, sort_keys=True))

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, state: Any, meta: Mapping[str, Any], *, replace: bool = False
    ) -> None:
        """Writes a checkpoint in the background; returns once ``state`` is copied off the devices.

        Args:
          step: its name.
          state: global arrays on the mesh.
          meta: JSON-able; ``format_version`` is added.
          replace: what becomes of a step that has one already: it is left as it is, or replaced.

        Raises:
          UserError: it, or the one before it, could not be written.
        """
        if step in self._manager.all_steps():
            if not replace:
                return
            self._manager.delete(step)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"format_version": FORMAT_VERSION, **meta}),
        )
        with _writing(self.folder):
            self._manager.save(step, args=items)

    def newest_sound(self) -> tuple[int | None, list[str]]:
        """The newest step whose checkpoint is whole, and a sentence on each newer damaged one."""
        complaints: list[str] = []
        for step in reversed(self.steps()):
            wrong = damage(self.folder / str(step))
            if wrong is None:
                return step, complaints
            complaints.append(f"the checkpoint {self.folder / str(step)} is damaged: {wrong}.")
        return None, complaints

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of ``step``."""
        saved = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        return saved["meta"]

    def restore(self, step: int, like: Any) -> Any:
        """The state of ``step``.

        Args:
          step: which checkpoint.
          like: a tree of ``jax.ShapeDtypeStruct`` with the shardings that the arrays are to have,
            which need not be those that they were saved from.

        Raises:
          UserError: the checkpoint holds another network's state.
        """
        path = self.folder / str(step) / "state"
        saved, wanted = _shapes_on_disk(path), _shapes(like)
        for name in sorted(saved.keys() | wanted.keys()):
            there, here = saved.get(name, "missing"), wanted.get(name, "missing")
            if there != here:
                raise UserError(
                    f"the checkpoint {path.parent} holds the state of another network or optimizer "
                    f"({name} is {there}, here {here}); give the configuration that it was made "
                    "with, or another workdir."
                )
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
        )
        return restored["state"]

    def set_aside_after(self, step: int) -> None:
        """Renames the checkpoints of steps after ``step`` to ``STEP.damaged``; none is deleted.

        They would stand in the way of those that are made again.
        """
        for later in [s for s in self.steps() if s > step]:
            if jax.process_index() == 0:
                (self.folder / str(later)).rename(self.folder / f"{later}.damaged")
        multihost_utils.sync_global_devices("damaged checkpoints set aside")
        self._manager.reload()

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of steps after ``step``."""
        for later in [s for s in self.steps() if s > step]:
            self._manager.delete(later)

    def wait(self) -> None:
        """Returns when all that was saved is on disk.

        Raises:
          UserError: it could not be written.
        """
        with _writing(self.folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and gives up the manager's threads."""
        self.wait()
        self._manager.close()


class _writing:  # noqa: N801 - reads as a statement: with _writing(folder)
    """Turns a failure to write into one sentence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        text = str(error)
        full = "No space left" in text or "RESOURCE_EXHAUSTED" in text
        if isinstance(error, OSError) or (error is not None and full):
            why = "the disk is full" if full else text.splitlines()[0]
            raise UserError(
                f"a checkpoint could not be written to {self._folder} ({why}); the checkpoints "
                "before it are whole: make room and start the same command again."
            ) from error


def best_checkpoint(workdir: Path) -> Path:
    """The folder of an earlier run's best whole checkpoint, else of its newest.

    Args:
      workdir: the run's work directory.

    Raises:
      UserError: there is no whole checkpoint in it.
    """
    for folder in (workdir / "best", workdir / "checkpoints"):
        steps = sorted(
            (int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()), reverse=True
        )
        for step in steps:
            if damage(folder / str(step)) is None:
                return (folder / str(step)).resolve()
    raise UserError(
        f"{workdir} holds no whole checkpoint to start from; train there first, or name another "
        "work directory."
    )


def meta_of(checkpoint: Path) -> dict[str, Any]:
    """What was saved beside the state in a whole checkpoint's folder."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return reader.restore(checkpoint / "meta")


def variables_of(checkpoint: Path) -> dict[str, Any]:
    """The ``params`` and ``batch_stats`` in a whole checkpoint's folder, as numpy arrays.

    They are those that were evaluated: the averaged ones where the run kept an average.
    """
    path = checkpoint / "state"
    tree = _tree_on_disk(path)
    with ocp.PyTreeCheckpointer() as reader:
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        state = reader.restore(path, restore_args=as_numpy)
    return {
        "params": state.get("ema") or state["params"],
        "batch_stats": state.get("batch_stats") or {},
    }


def read_variables(workdir: Path) -> dict[str, Any]:
    """`variables_of` the `best_checkpoint` of a work directory."""
    return variables_of(best_checkpoint(workdir))
