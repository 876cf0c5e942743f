# PYTHON_ARGCOMPLETE_OK
"""Lists the checkpoints of a run, and verifies every file of each.

    python -m experiments.checkpoints --workdir=runs/vgg_imagenet/digits

Nothing is changed, and the run may be going on meanwhile. The status is 0 when all are whole and 3
when one is damaged, a damaged one that the run has set aside included. One that is unfinished is
being written, or was when its process was killed; that is no damage, and the next start removes it.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.copies import at_hand
from experiments.options import parse_options
from experiments.workdir import CONFIG
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.training.checkpoint_folder import (
    FOLDERS,
    UNFINISHED,
    bytes_in,
    damaged_in,
    steps_in,
    unfinished_in,
)
from jaxcnn.training.checkpoint_reading import meta_of
from jaxcnn.training.manifest import damage
from jaxcnn.training.records import read_metrics

DAMAGED = 3  # exit status


@dataclasses.dataclass(frozen=True)
class CheckpointsConfig:
    """Which checkpoints.

    Attributes:
      workdir: the work directory of a run, or the address that it was copied to, such as
        `gs://BUCKET/FOLDER`; what lies there is fetched to be verified.
    """

    workdir: str | None = None


@dataclasses.dataclass(frozen=True)
class Listed:
    """A checkpoint as the list shows it.

    Attributes:
      name: its folder, within the work directory.
      size: bytes.
      written: when, in seconds of the clock.
      state: in words, with what is damaged.
      damaged: whether it is not what was written.
      metrics: those of the evaluation that belongs to it, by name.
    """

    name: str
    size: int
    written: float
    state: str
    damaged: bool = False
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def step(self) -> int:
        """The steps that its state has seen."""
        return int(self.name.partition("/")[2].partition(".")[0])


def main(argv: Sequence[str], output: Output) -> int:
    """Lists the checkpoints that the command line asks for; returns the exit status."""
    config = parse_options(
        argv,
        CheckpointsConfig(),
        program="python -m experiments.checkpoints",
        description=__doc__,
    )
    if config.workdir is None:
        raise UserError("whose checkpoints? Give a run by --workdir=FOLDER.")
    with at_hand(config.workdir, everything=True) as workdir:
        if not any((workdir / name).exists() for name in (CONFIG, *FOLDERS)):
            raise UserError(
                f"{workdir} is no work directory of a run; give one by --workdir=FOLDER."
            )
        found = list(checkpoints_of(workdir))
        nothing = f"{config.workdir} has no checkpoint yet."
        output.result(
            [vars(each) for each in found],
            text(found, steps_per_epoch(workdir)) if found else nothing,
        )
    return DAMAGED if any(each.damaged for each in found) else 0


def checkpoints_of(workdir: Path) -> Iterator[Listed]:
    """Every checkpoint of a run, verified; one that the run deletes meanwhile is left out."""
    for place in FOLDERS:
        folder = workdir / place
        for path in (
            *(folder / str(step) for step in steps_in(folder)),
            *damaged_in(folder),
            *unfinished_in(folder),
        ):
            if (found := _listed(path, f"{place}/{path.name}")) is not None:
                yield found


def _listed(path: Path, name: str) -> Listed | None:
    """A checkpoint as it is found to be; None where its run has deleted it meanwhile."""
    try:
        before = path.stat()
        if UNFINISHED in path.suffixes:
            return Listed(name, bytes_in(path), before.st_mtime, "unfinished")
        wrong = damage(path)
        metrics = {} if wrong else meta_of(path).get("evaluation", {})
        if os.path.samestat(before, path.stat()):
            state = f"damaged: {wrong}" if wrong else "whole"
            return Listed(name, bytes_in(path), before.st_mtime, state, wrong is not None, metrics)
    except FileNotFoundError:
        if not path.exists():
            return None
    return _listed(path, name)  # its run has put another one in its place


def steps_per_epoch(workdir: Path) -> float | None:
    """As the run's records say it; None where they do not."""
    try:
        lines = read_metrics(workdir / "metrics.jsonl")
        return lines[-1]["step"] / lines[-1]["epoch"]
    except (UserError, LookupError, ZeroDivisionError):
        return None


def text(found: Sequence[Listed], epoch: float | None) -> str:
    """The list as a table.

    Args:
      found: the checkpoints.
      epoch: steps in an epoch, where that is known.
    """
    rows = [("checkpoint", "step", "epoch", "MB", "written", "loss", "top-1", "state")]
    for each in found:
        loss, accuracy = each.metrics.get("loss"), each.metrics.get("accuracy")
        rows.append(
            (
                each.name,
                f"{each.step:,}",
                "" if epoch is None else f"{each.step / epoch:.4g}",
                f"{each.size / 1e6:,.1f}",
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.written)),
                "" if loss is None else f"{loss:.4f}",
                "" if accuracy is None else f"{accuracy:.2%}",
                each.state,
            )
        )
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = []
    for name, *numbers, state in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *cells, state]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_main(main, "checkpoints"))
