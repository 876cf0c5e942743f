"""A run and its copy in a bucket: brought back where the work directory is gone, and kept there."""

import contextlib
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.ownership import Ownership
from experiments.workdir import Workdir
from jaxcnn.errors import UserError
from jaxcnn.files import free_path, writing
from jaxcnn.training import manifest
from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.bucket import Bucket, BucketError, is_address
from jaxcnn.training.bucket_checkpoints import (
    Copy,
    copies_of,
    download,
    fetch,
    fetch_files,
    files_of,
    say_damaged,
)
from jaxcnn.training.bucket_copying import CONFIG, RESULT, RUN, Copying
from jaxcnn.training.checkpoint_folder import DAMAGED, FOLDERS, UNFINISHED, steps_in


def bring_back(run: Workdir) -> list[str]:
    """Fetches what a run's bucket has and its work directory has not, or not any more.

    That is the newest whole checkpoints, the best one, and the records that belong to them. Nothing
    is fetched where the work directory is as far.

    Args:
      run: whose configuration names a bucket.

    Returns:
      What the user should know, a sentence each.

    Raises:
      UserError: the bucket cannot be used, or is another run's, or it has checkpoints and neither
        it nor the folder has a whole one.
    """
    workdir, address = run.path, run.config.checkpoint.bucket
    assert address is not None
    bucket = Bucket(address)
    bucket.check_writable()
    theirs = bucket.read(RUN)
    if theirs is None:
        return []
    if run.config.restart:
        raise UserError(
            f"checkpoint.bucket={address} holds an earlier run, which is not renamed there; give "
            "another folder of the bucket, or delete that one."
        )
    objects = bucket.objects()
    copies = copies_of(objects)
    if not any(c.whole or c.damaged for c in copies):
        return []  # it was killed before the first was copied: there is nothing to go on from
    ours = workdir / RUN
    if not (ours.exists() and ours.read_bytes() == theirs):
        if (workdir / CONFIG).exists():
            raise UserError(
                f"checkpoint.bucket={address} holds another run than {workdir}; give another "
                "folder of the bucket, or another workdir."
            )
        run.refuse_other_files()
    reached = _reached(workdir)
    newest = max((c.step for c in copies if c.whole and c.folder == FOLDERS[0]), default=math.inf)
    # A best one beyond the newest is of another future, which a forced run has left.
    behind = [c for c in copies if c.whole and reached[c.folder] < c.step <= newest]
    said = []
    if behind or not (workdir / CONFIG).exists():
        with writing(workdir), Ownership() as ownership:
            workdir.mkdir(parents=True, exist_ok=True)
            ownership.take(workdir)
            said = _fetch_all(bucket, workdir, behind, files=files_of(objects))
        reached = _reached(workdir)
    if max(reached.values()) < 0:
        raise UserError(
            f"the run in {address} had checkpoints and no whole one is left; put one back, or "
            "start anew with another workdir and bucket."
        )
    return said


def _reached(workdir: Path) -> dict[str, int]:
    """The newest step that has a whole checkpoint, by folder; -1 for none."""
    return {folder: _newest_sound(workdir / folder) for folder in FOLDERS}


def _newest_sound(folder: Path) -> int:
    steps = steps_in(folder)
    return next((s for s in reversed(steps) if not manifest.damage(folder / str(s))), -1)


def _fetch_all(bucket: Bucket, workdir: Path, copies: list[Copy], *, files: list[str]) -> list[str]:
    """Fetches checkpoints and the files of the work directory, so that a kill leaves no lie."""
    # First what tells a killed fetch's folder from anyone else's.
    fetch_files(bucket, [RUN], workdir)
    # The records before the checkpoints that they belong to; then what makes the folder a run's.
    last = [name for name in (CONFIG, RESULT) if name in files]
    fetch_files(bucket, [name for name in files if name not in last], workdir)
    said, fetched = [], []
    for copy in copies:
        wrong = fetch(bucket, copy, workdir / copy.folder)
        if wrong is None:
            fetched.append(copy.step)
        else:
            said.append(f"Warning: {say_damaged(bucket, copy, wrong)}")
    fetch_files(bucket, last, workdir)
    if fetched:
        said.append(f"Fetched the checkpoints up to step {max(fetched)} from {bucket.address}.")
    return said


@contextlib.contextmanager
def copied(run: Workdir, timeline: Timeline) -> Iterator[None]:
    """Copies a run into its bucket, if it has one, while it goes on, and the rest at its end.

    It is process 0 that does, whatever process wrote a file.

    Raises:
      UserError: the run has come to its end and its copy has not.
    """
    address = run.config.checkpoint.bucket
    if address is None or jax.process_index() != 0:
        yield
        return
    copying = Copying(run.path, Bucket(address), _warn)
    copying.start()
    try:
        yield
    except Exception:
        timeline.turn_to(Activity.SAVING, f"the copy in {address}")
        try:
            copying.finish()
        except BucketError as error:
            _warn(f"not all is copied to the bucket: {error}")
        raise
    timeline.turn_to(Activity.SAVING, f"the copy in {address}")
    try:
        copying.finish()
    except BucketError as error:
        raise UserError(
            f"the run in {run.path} is finished and its copy is not: {error} Then start the same "
            "command again, which copies what is missing."
        ) from error


def _warn(sentence: str) -> None:
    print(f"Warning: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def at_hand(run: str, *, checkpoints: bool = True, everything: bool = False) -> Iterator[Path]:
    """The work directory of a run, or one like it that its bucket's copy is fetched into.

    Args:
      run: a path, or an address such as ``gs://bucket/folder``.
      checkpoints: whether there is need of any.
      everything: whether all checkpoints are fetched, damaged and unfinished ones too, as they are.
        If not, it is the best one, and the others only where there is no whole best one.

    Raises:
      UserError: the bucket cannot be used.
    """
    if not is_address(run):
        yield Path(run)
        return
    bucket = Bucket(run)
    objects = bucket.objects()
    if RUN not in objects:
        raise UserError(f"{run} holds no run; give the checkpoint.bucket of one.")
    with tempfile.TemporaryDirectory(prefix="jaxcnn-") as place:
        workdir = Path(place)
        fetch_files(bucket, files_of(objects), workdir)
        copies = copies_of(objects)
        for folder in reversed(FOLDERS) if checkpoints else ():
            if everything or max(_reached(workdir).values()) < 0:
                for copy in (c for c in copies if c.folder == folder):
                    _fetch_as_it_is(bucket, copy, workdir / folder)
        yield workdir


def _fetch_as_it_is(bucket: Bucket, copy: Copy, folder: Path) -> None:
    suffix = DAMAGED if copy.damaged else "" if copy.whole else UNFINISHED
    # Of two whole ones of a step the later is being put in the place of the earlier.
    place = folder / f"{copy.step}{suffix}"
    download(bucket, copy, place if not suffix else free_path(place))
