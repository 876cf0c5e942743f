"""Completion by shells, as argcomplete asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = [
    path.relative_to(ROOT)
    for folder in ("experiments", "jaxcnn")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if 'if __name__ == "__main__"' in path.read_text()
    and path.stem not in ("worker", "input_contestant")
]


def completed(module, line):
    """What a shell would offer for the last word of a line."""
    read, write = os.pipe()
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_COMP_WORDBREAKS": "",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(ROOT),
    }
    command = f"exec {sys.executable} -m {module} 8>&{write} 9>/dev/null"
    ended = subprocess.run(
        ["bash", "-c", command], env=os.environ | asked, pass_fds=[write], capture_output=True
    )
    os.close(write)
    with os.fdopen(read) as answers:
        assert ended.stdout == b"", "a shell would take it for an answer"
        return answers.read().split("\n")


@pytest.mark.parametrize(
    ("module", "line", "offered"),
    [
        ("jaxcnn", "jaxcnn li", ["list "]),
        ("jaxcnn", "jaxcnn list --q", ["--quiet "]),
        ("experiments.vgg_imagenet", "x --config.optimizer.name=mo", ["momentum "]),
        ("experiments.vgg_imagenet", "x --config=b_d", ["b_digits "]),
        ("experiments.evaluate", "x --proto", ["--protocol "]),
        ("experiments.benchmark", "x --mode inf", ["inference "]),
    ],
)
def test_what_may_come_next(module, line, offered):
    assert [word.rpartition("=")[2] for word in completed(module, line)] == offered


def test_every_command_is_marked_for_it():
    assert len(COMMANDS) > 25
    for path in COMMANDS:
        assert (ROOT / path).read_text().startswith("# PYTHON_ARGCOMPLETE_OK\n"), path
