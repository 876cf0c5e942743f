"""A process that dies at any of its changes of the disk leaves whole checkpoints and no rubbish."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("dying_checkpoints.py")
# The steps and the numbers of the checkpoints that may be the newest, and each of them is once.
POSSIBLE = {
    "replace": [(2, 2), (2, 3)],
    "replace the newest": [(2, 2), (2, 3)],
    "save another": [(2, 2), (5, 4)],
    "set aside": [(1, 1), (2, 2), (3, 3)],
    "drop": [(1, 1), (2, 2), (3, 3)],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was found after the deaths, which are played in a process of their own."""
    played = subprocess.run(
        [sys.executable, PROGRAM, tmp_path_factory.mktemp("deaths")],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    return json.loads(played.stdout)


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("case", POSSIBLE)
def test_it_may_die_at_any_moment(case, keep, found):
    seen, changes = found[f"{case} {keep}"]
    assert [tuple(pair) for pair in seen] == POSSIBLE[case]
    assert changes > 2
