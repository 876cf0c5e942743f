"""A process that changes checkpoints dies at each of its changes of the disk, and another goes on.

Death is played: from one change on, every further one is refused. What Orbax's C++ part writes is
not seen by this; it writes only below a folder that does not count yet.

``python dying_checkpoints.py FOLDER`` plays all of CASES there, each with one and with two that
are kept, and prints what was found as JSON: for each the pairs of a step and a number that came
back, and how many changes there were. What died half-way complains as long as the process lives.
"""

import contextlib
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.manifest import damage


class Dead(BaseException):
    """Raised by whatever a dead process tries to do to the disk."""


class Disk:
    """Counts the changes below a folder, and refuses all from a given one on."""

    def __init__(self):
        self._folder, self._left = None, 0
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self._folder is None:
            return
        if event == "open":
            path, _, flags = arguments
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path = arguments[0] if arguments else None
            changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
        if changes and isinstance(path, str | os.PathLike) and self._folder in str(path):
            self._left -= 1
            if self._left < 0:
                raise Dead(event, path)

    def die_after(self, changes, folder):
        self._folder, self._left = str(folder), changes

    @property
    def died(self):
        return self._left < 0


DISK = Disk()


def state(number):
    return {"number": np.full(3, number)}


def replace(store):
    store.save(2, state(3), {"number": 3}, replace=True)
    store.wait()


def save_another(store):
    store.save(5, state(4), {"number": 4})
    store.wait()


def set_aside(store):
    store.set_aside_after(1)


def drop(store):
    store.drop_after(1)


# What is done, and the steps that stand there before it.
CASES = {
    "replace": (replace, (2,)),
    "replace the newest": (replace, (1, 2)),
    "save another": (save_another, (1, 2)),
    "set aside": (set_aside, (1, 2, 3)),
    "drop": (drop, (1, 2, 3)),
}


def play(change, before, keep, place):
    """What came back after each death, and how often it died."""
    seen, changes, died = set(), 0, True
    while died:
        folder = place / f"{changes:03}"
        # What stands there before is more than is kept: that goes when the next is on disk.
        store = Checkpoints(folder, keep=9)
        for step in before:
            store.save(step, state(step), {"number": step})
        store.close()
        store = Checkpoints(folder, keep=keep)
        DISK.die_after(changes, folder)
        with contextlib.suppress(Dead):
            change(store)
        died = DISK.died
        changes += 1

        # The threads of the dead one still live, and may add to what they are writing.
        left = place / f"{changes:03}_left"
        shutil.copytree(folder, left, ignore=shutil.ignore_patterns("*.orbax-checkpoint-tmp"))
        (left / "7.unfinished.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
        again = Checkpoints(left, keep=keep)
        step, complaints = again.newest_sound()
        assert complaints == []
        found = step, again.meta(step)["number"]
        restored = again.restore(step, {"number": np.zeros(3, int)})["number"]
        assert list(restored) == [found[1]] * 3
        seen.add(found)
        for path in left.iterdir():  # what is left is whole, be it set aside
            assert path.name.partition(".")[2] in ("", "damaged"), path
            assert damage(path) is None
        # It goes on.
        again.save(9, state(9), {"number": 9})
        again.close()
        assert again.steps()[-1] == 9
        assert len(again.steps()) <= keep
        assert again.newest_sound() == (9, [])
    return sorted(seen), changes


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {}
    for name, (change, before) in CASES.items():
        for keep in (1, 2):
            place = Path(sys.argv[1], f"{name} {keep}")
            place.mkdir()
            found[place.name] = play(change, before, keep, place)
    print(json.dumps(found), flush=True)
    os._exit(0)  # the threads of the dead would wait for ever
