"""What a run that came to a sudden end left: how far it was, and what it was doing."""

import json
import re
import time
from pathlib import Path
from typing import Any

from experiments.faults.same_run import steps
from experiments.faults.small_run import STEPS, SmallRun
from jaxcnn.training.checkpoint_folder import FOLDERS
from jaxcnn.training.checkpoints import damage


def newest(workdir: Path) -> int:
    """The step of the newest checkpoint, one that was being replaced included; 0 for none."""
    replaced = [int(p.stem) for p in (workdir / FOLDERS[0]).glob("[0-9]*.replaced")]
    return max(steps(workdir / FOLDERS[0]) + replaced, default=0)


def unsound(workdir: Path) -> str | None:
    """What is wrong with a checkpoint that has its final name; None for nothing."""
    for folder in FOLDERS:
        for step in steps(workdir / folder):
            if wrong := damage(workdir / folder / str(step)):
                return f"{folder}/{step} has its final name, and {wrong}"
    return None


def records(workdir: Path) -> list[dict[str, Any]]:
    """The whole lines of the records."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def recorded(workdir: Path) -> int:
    """The last step in the records."""
    return max((line["step"] for line in records(workdir)), default=0)


def said(run: SmallRun) -> bool:
    """Whether a start has said where it works: its processes are joined, its data are there."""
    return "work directory" in run.printed()


def continued(run: SmallRun) -> int | None:
    """The step that a start said that it went on from."""
    found = re.search(r"^Continuing from step (\d+)\.", run.printed(), re.MULTILINE)
    return int(found[1]) if found else None


def last_lines(run: SmallRun) -> str:
    """The last line that each process printed."""
    texts = [run.printed(process).strip() for process in range(len(run.processes))]
    return " | ".join((text.splitlines() or ["nothing printed"])[-1] for text in texts)


def phase_of(run: SmallRun) -> str:
    """What a run, now dead, was doing."""
    workdir, began = run.workdir, time.time() - run.seconds
    if not said(run):
        return "start-up"
    unfinished = [path for folder in FOLDERS for path in (workdir / folder).glob("[0-9]*.*")]
    if any(path.stat().st_mtime > began for path in unfinished if "damaged" not in path.name):
        return "saving"
    lines, metrics = records(workdir), workdir / "metrics.jsonl"
    if not lines or metrics.stat().st_mtime < began:
        return "compilation"
    last = lines[-1]
    if last["kind"] == "train":
        return "training" if last["step"] > (continued(run) or 0) else "compilation"
    if last["kind"] == "epoch":
        return "evaluation"
    return "ending" if newest(workdir) == STEPS else "between epochs"
