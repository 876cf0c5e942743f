"""The work directory of a run: whose it is, whether its run goes on, is finished or begins anew."""

import dataclasses
import json
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from experiments.commandline import to_dict
from experiments.config import FREE_ON_RESUME, Experiment
from experiments.ownership import Ownership, refuse_if_owned
from jaxcnn.errors import UserError
from jaxcnn.files import free_path, read_object, write_atomically, writing
from jaxcnn.training.bucket_copying import CONFIG, HELD, RESULT
from jaxcnn.training.checkpoint_folder import FOLDERS, bytes_in, holds_any, unfinished_in

DATA = "data.json"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of a nested dict."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def changes(saved: Mapping[str, Any], config: Experiment, *, free: Collection[str]) -> list[str]:
    """The fields that differ, but for the ``free`` ones, as ``field: saved -> now``.

    A field that is not in ``saved``, which an earlier version wrote, had what is its default now.
    """
    before, now = (
        {name: value for name, value in _flat(tree).items() if name not in free}
        for tree in ({**_flat(to_dict(Experiment())), **_flat(saved)}, to_dict(config))
    )
    return _differences(before, now)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {before.get(name)} -> {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def set_aside(path: Path) -> None:
    """Renames an earlier run's folder by the time that it is."""
    # Which may be that of another one, from the same second or before a clock was set back.
    path.rename(free_path(path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}")))


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Where a run writes.

    ``inspect`` leaves everything as it is, but for the lock on a run that goes on; ``make`` and,
    once all is known to fit, ``claim`` make it this run's.

    Attributes:
      path: the folder.
      config: the configuration of this run.
      data: what must be the same of its data when it goes on, JSON-able.
      ownership: of the folder, for as long as the run lives.
    """

    path: Path
    config: Experiment
    data: Mapping[str, Any]
    ownership: Ownership

    def inspect(self, *, state_bytes: int) -> dict[str, Any] | None:
        """The result of the finished run that this is, or None.

        Args:
          state_bytes: what one checkpoint takes, for the disk must have room for some.

        Raises:
          UserError: the folder holds a run of another configuration, or something else than a
            run, or a live one, or nothing can be written there.
        """
        # Those that stay, the best, and one of each in the making; an earlier run has some already.
        stay = self.config.checkpoint.keep + 1
        whole_run = state_bytes * (stay + 2)
        if self.config.checkpoint.bucket is not None:  # what is copied is held until it is there
            whole_run += state_bytes * stay
        if not self.path.exists():
            self._check_writable(whole_run)
            return None
        if not self.path.is_dir():
            raise UserError(f"the work directory {self.path} is a file; give another workdir.")
        refuse_if_owned(self.path)
        if self.config.restart:
            self._check_writable(whole_run)
            self.ownership.take(self.path)
            return None
        result = self._result()
        if result is None:
            self._check_writable(2 * state_bytes if self.has_checkpoints() else whole_run)
            self.ownership.take(self.path)
            result = self._result()  # another run may have had it until now
        return result

    def _result(self) -> dict[str, Any] | None:
        """The result of the finished run of this configuration and these data, if it is one."""
        saved = self._read(CONFIG)
        if saved is None:
            self.refuse_other_files()
            return None
        changed = changes(saved, self.config, free=FREE_ON_RESUME)
        if changed and self.config.resume != "force":
            raise UserError(
                f"the run in {self.path} was made with other values ({'; '.join(changed)}); start "
                "anew with --config.restart=True, go on with these by --config.resume=force, or "
                "give another workdir."
            )
        began_with = self._read(DATA) or self.data
        if began_with != self.data and self.config.resume != "force":
            raise UserError(
                f"the data of the run in {self.path} has changed since it began "
                f"({'; '.join(_differences(began_with, self.data))}); put it back, start anew with "
                "--config.restart=True, or go on all the same by --config.resume=force."
            )
        return None if changed else self._read(RESULT)

    def refuse_other_files(self) -> None:
        """Raises a UserError where the folder, which is no run's, holds anything."""
        # A run that was killed before it was one may have left hidden files.
        if any(p.is_file() and not p.name.startswith(".") for p in self.path.rglob("*")):
            raise UserError(
                f"the work directory {self.path} holds files but no run of ours; give another "
                "workdir, or an empty one."
            )

    def has_checkpoints(self) -> bool:
        """True when this run goes on from an earlier start's checkpoints."""
        return not self.config.restart and any(holds_any(self.path / name) for name in FOLDERS)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return read_object(self.path / name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path / name} cannot be read ({error}); start anew with "
                "--config.restart=True, or give another workdir."
            ) from error

    def _check_writable(self, needed: int) -> None:
        """Raises a UserError when the folder, or what would hold it, cannot take so many bytes."""
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        probe = place / f".writable-{time.time_ns()}"
        try:
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"the work directory {self.path} cannot be written ({error.strerror}); give one "
                "that can by --config.workdir=FOLDER."
            ) from error
        # What a killed run left half written goes before anything is written.
        unfinished = (u for n in FOLDERS for u in unfinished_in(self.path / n))
        free = shutil.disk_usage(place).free + sum(map(bytes_in, unfinished))
        if free < needed:
            raise UserError(
                f"the disk of the work directory {self.path} has {free / 1e6:,.0f} MB left and "
                f"this run's checkpoints need {needed / 1e6:,.0f}; make room, or give another "
                "folder by --config.workdir=FOLDER."
            )

    def make(self) -> str:
        """Makes the folder; on a restart that of an earlier run is renamed.

        Returns:
          The name of an empty folder in it, by which other machines know that they see this one.

        Raises:
          UserError: the folder cannot be made, or another run was faster.
        """
        try:
            if self.config.restart and self.path.exists():
                set_aside(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            if self.ownership.take(self.path) and (self.path / CONFIG).exists():
                raise UserError(
                    f"another run has begun in {self.path} since this one was started; start the "
                    "same command again."
                )
            self._sweep()
            mark = f".shared-{time.time_ns()}"
            (self.path / mark).mkdir()
            return mark
        except OSError as error:
            raise UserError(
                f"the work directory {self.path} cannot be made ({error.strerror}); give another "
                "by --config.workdir=FOLDER."
            ) from error

    def _sweep(self) -> None:
        """Removes what killed processes left unfinished beside the files of the run."""
        for pattern in (".shared-*", ".writable-*", ".*.tmp"):
            for path in self.path.glob(pattern):
                path.rmdir() if path.is_dir() else path.unlink()
        shutil.rmtree(self.path / HELD, ignore_errors=True)

    def claim(self) -> None:
        """Writes this run's configuration; until then the folder is the earlier run's.

        A result that an earlier run of other values left is removed first.

        Raises:
          UserError: it cannot be written.
        """
        with writing(self.path / RESULT):
            (self.path / RESULT).unlink(missing_ok=True)
        # First the one by which the folder is known as a run's.
        write_atomically(self.path / CONFIG, json.dumps(to_dict(self.config), indent=2) + "\n")
        write_atomically(self.path / DATA, json.dumps(self.data, indent=2) + "\n")
