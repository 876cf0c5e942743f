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
from jaxcnn.errors import UserError
from jaxcnn.files import read_object, write_atomically, writing

CONFIG = "config.json"
DATA = "data.json"
RESULT = "result.json"


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
    path.rename(path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}"))


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Where a run writes.

    ``inspect`` leaves everything as it is; ``make`` and, once all is known to fit, ``claim`` make
    it this run's.

    Attributes:
      path: the folder.
      config: the configuration of this run.
      data: what must be the same of its data when it goes on, JSON-able.
    """

    path: Path
    config: Experiment
    data: Mapping[str, Any]

    def inspect(self, *, state_bytes: int) -> dict[str, Any] | None:
        """The result of the finished run that this is, or None.

        Args:
          state_bytes: what one checkpoint takes, for the disk must have room for some.

        Raises:
          UserError: the folder holds a run of another configuration, or something else than a
            run, or nothing can be written there.
        """
        # Those that stay, the best, and one of each in the making; an earlier run has some already.
        whole_run = state_bytes * (self.config.checkpoint.keep + 3)
        if self.config.restart or not self.path.exists():
            self._check_writable(whole_run)
            return None
        if not self.path.is_dir():
            raise UserError(f"the work directory {self.path} is a file; give another workdir.")
        saved = self._read(CONFIG)
        if saved is None:
            if any(path.is_file() for path in self.path.rglob("*")):
                raise UserError(
                    f"the work directory {self.path} holds files but no run of ours; give another "
                    "workdir, or an empty one."
                )
            self._check_writable(whole_run)
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
        result = None if changed else self._read(RESULT)
        if result is None:
            self._check_writable(2 * state_bytes)
        return result

    def has_checkpoints(self) -> bool:
        """True when this run goes on from an earlier start's checkpoints."""
        return not self.config.restart and any((self.path / "checkpoints").glob("[0-9]*"))

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
        free = shutil.disk_usage(place).free
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
          UserError: the folder cannot be made.
        """
        try:
            if self.config.restart and self.path.exists():
                set_aside(self.path)
            mark = f".shared-{time.time_ns()}"
            (self.path / mark).mkdir(parents=True)
            return mark
        except OSError as error:
            raise UserError(
                f"the work directory {self.path} cannot be made ({error.strerror}); give another "
                "by --config.workdir=FOLDER."
            ) from error

    def claim(self) -> None:
        """Writes this run's configuration; until then the folder is the earlier run's.

        A result that an earlier run of other values left is removed first.

        Raises:
          UserError: it cannot be written.
        """
        with writing(self.path / RESULT):
            (self.path / RESULT).unlink(missing_ok=True)
        write_atomically(self.path / DATA, json.dumps(self.data, indent=2) + "\n")
        write_atomically(self.path / CONFIG, json.dumps(to_dict(self.config), indent=2) + "\n")
