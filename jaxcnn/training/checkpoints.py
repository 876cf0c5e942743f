"""Checkpoints by Orbax: asynchronous, atomic, the newest and the best, and verified when read.

A checkpoint is a folder named by its step with the items ``state`` (the arrays), ``meta`` (the
configuration, the versions and the format's version, as JSON) and ``manifest`` (a checksum of every
file, written last, before the folder gets its name). One without a manifest is unfinished.
"""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxcnn.errors import UserError
from jaxcnn.files import writing
from jaxcnn.training import checkpoint_folder
from jaxcnn.training.bucket import check_address
from jaxcnn.training.checkpoint_reading import meta_of, tree_of
from jaxcnn.training.manifest import damage
from jaxcnn.training.processes import from_first

# Orbax logs every file that it looks for, and pages about an error that it also raises; what the
# user needs to know, we say.
for _name in ("absl", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

FORMAT_VERSION = 2
_OS_ERROR = re.compile(
    r"([^:]*) \[os_error_code="
)  # in what TensorStore, which writes arrays, says


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, and how many stay.

    Attributes:
      every_steps: steps between two checkpoints within an epoch; None for none. One is written at
        the end of every epoch anyway, and when the run is asked to stop.
      keep: how many of the newest stay; the best by the monitored metric stays besides.
      bucket: a folder in a bucket, such as `gs://BUCKET/FOLDER` or `s3://BUCKET/FOLDER`, that
        every checkpoint is copied to, with the records up to it; a run whose work directory is
        gone goes on from there. None for none.
    """

    every_steps: int | None = None
    keep: int = 2
    bucket: str | None = None

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
        if self.bucket is not None:
            check_address("checkpoint.bucket", self.bucket)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by the name that Orbax saves it under."""
    flat = ocp.tree.to_flat_dict(tree, sep="/")
    return {name: leaf.shape for name, leaf in flat.items() if hasattr(leaf, "shape")}


class _Committing(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's way to finish a checkpoint, and then ours, in the thread that writes it."""

    async def finalize(self) -> None:
        """Called by Orbax on process 0 when all processes have written their files."""
        # It still adds files and renames the folder, which has not yet its name for us.
        await super().finalize()
        checkpoint_folder.enter(Path(self.get_final()))


class Checkpoints:
    """One folder of checkpoints, of which the ``keep`` newest stay.

    Every process of a run makes one and calls the same methods in the same order. What an earlier
    start left half done in the folder is put in order: no other may be writing there.

    Raises:
      UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder.resolve()
        self._keep = keep
        self._steps: list[int] = from_first(self._open)
        self._grown = False  # by a checkpoint that may be still in the making
        # Several processes meet under names, and a run's two folders are written at once.
        meetings = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=folder.name)
        self._writer = ocp.AsyncCheckpointer(
            ocp.CompositeCheckpointHandler(
                composite_options=ocp.CompositeOptions(multiprocessing_options=meetings)
            ),
            multiprocessing_options=meetings,
            temporary_path_class=_Committing,
        )

    def _open(self) -> list[int]:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoint_folder.tidy(self.folder)
            return checkpoint_folder.steps_in(self.folder)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return list(self._steps)

    def save(
        self, step: int, state: Any, meta: Mapping[str, Any], *, replace: bool = False
    ) -> None:
        """Writes a checkpoint in the background; returns once ``state`` is copied off the devices.

        The one before is on disk by then, and older ones than are to be kept are deleted.

        Args:
          step: its name.
          state: global arrays on the mesh.
          meta: JSON-able; ``format_version`` is added.
          replace: what becomes of a step that has one already: it is left as it is, or replaced
            when the new one is on disk.

        Raises:
          UserError: it, or the one before it, could not be written.
        """
        if step in self._steps and not replace:
            return
        self.wait()
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"format_version": FORMAT_VERSION, **meta}),
        )
        with self._writing():
            self._writer.save(self.folder / f"{step}{checkpoint_folder.UNFINISHED}", args=items)
        self._steps = sorted({*self._steps, step})
        self._grown = True

    def newest_sound(self) -> tuple[int | None, list[str]]:
        """The newest step whose checkpoint is whole, and a sentence on each newer damaged one."""
        complaints: list[str] = []
        for step in reversed(self._steps):
            wrong = damage(self.folder / str(step))
            if wrong is None:
                return step, complaints
            complaints.append(f"the checkpoint {self.folder / str(step)} is damaged: {wrong}.")
        return None, complaints

    def meta(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of ``step``."""
        return meta_of(self.folder / str(step))

    def restore(self, step: int, like: Any) -> Any:
        """The state of ``step``, which must be whole.

        Args:
          step: which checkpoint.
          like: a tree of ``jax.ShapeDtypeStruct`` with the shardings that the arrays are to have,
            which need not be those that they were saved from.

        Raises:
          UserError: the checkpoint is of another version, or holds another network's state.
        """
        checkpoint = self.folder / str(step)
        meta = self.meta(step)
        if (written := meta.get("format_version")) != FORMAT_VERSION:
            version = meta.get("versions", {}).get("jaxcnn", "another version")
            raise UserError(
                f"the checkpoint {checkpoint} is of format {written}, written by jaxcnn {version}, "
                f"and this version's is {FORMAT_VERSION}; go on with that version, or start anew "
                "with --config.restart=True."
            )
        saved = _shapes(tree_of(checkpoint))
        wanted = _shapes(ocp.tree.serialize_tree(like, keep_empty_nodes=True))
        for name in sorted(saved.keys() | wanted.keys()):
            there, here = saved.get(name, "missing"), wanted.get(name, "missing")
            if there != here:
                raise UserError(
                    f"the checkpoint {checkpoint} holds the state of another network or optimizer "
                    f"({name} is {there}, here {here}); give the configuration that it was made "
                    "with, or another workdir."
                )
        restored = self._writer.restore(
            checkpoint, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
        )
        return restored["state"]

    def set_aside_after(self, step: int) -> None:
        """Renames the checkpoints of steps after ``step`` to ``STEP.damaged``; none is deleted.

        They would stand in the way of those that are made again.
        """
        self._let_go(self._after(step), checkpoint_folder.set_aside)

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of steps after ``step``."""
        self._let_go(self._after(step), checkpoint_folder.remove)

    def _after(self, step: int) -> list[int]:
        self.wait()
        return [later for later in reversed(self._steps) if later > step]

    def _let_go(self, steps: Sequence[int], leave: Callable[[Path], None]) -> None:
        """Takes checkpoints out of the folder."""
        self._steps = [step for step in self._steps if step not in steps]
        if jax.process_index() == 0:
            with writing(self.folder):
                for step in steps:
                    leave(self.folder / str(step))

    def wait(self) -> None:
        """Returns when all that was saved is on disk, and older ones are deleted.

        Raises:
          UserError: it could not be written.
        """
        with self._writing():
            self._writer.wait_until_finished()
        if self._grown:
            self._grown = False
            self._let_go(self._steps[: -self._keep], checkpoint_folder.remove)

    def close(self) -> None:
        """Waits, and gives up the writer's threads."""
        self.wait()
        self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns a failure to write into one sentence, and takes the half-written away."""
        try:
            yield
        except Exception as error:
            found = _OS_ERROR.search(str(error))
            if not (isinstance(error, OSError) or found):
                raise
            if jax.process_index() == 0:
                checkpoint_folder.discard_unfinished(self.folder)
            why = found[1].strip() if found else getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"a checkpoint could not be written to {self.folder} ({why}); the checkpoints "
                "before it are whole: mend that and start the same command again."
            ) from error
