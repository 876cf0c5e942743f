"""Whether two work directories hold the same run: to the bit, but for times."""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxcnn.training.checkpoints import meta_of

_TIMES = ("seconds", "continued", "goodput")  # of a result, what differs from start to start


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint.

    Attributes:
      step: its name.
      arrays: those of the state, by name.
      evaluation: the metrics that are saved with it; None where it is not of an evaluated state.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    evaluation: Any


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a run leaves, but for times.

    Attributes:
      newest: its last checkpoint: parameters, averaged parameters, optimizer, plateau, stopping.
      best: the best one.
      metrics: ``metrics.jsonl``.
      result: ``result.json``.
      rubbish: what is no part of a finished run, and was left half written by a killed one.
    """

    newest: Saved
    best: Saved
    metrics: bytes
    result: Mapping[str, Any]
    rubbish: Collection[str] = ()


def steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint in a folder of them, oldest first."""
    return sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit())


def arrays_of(checkpoint: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint's state, by name."""
    path = checkpoint / "state"
    with ocp.PyTreeCheckpointer() as reader:
        like = reader.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        leaves = jax.tree_util.tree_leaves_with_path(reader.restore(path, restore_args=as_numpy))
    return {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in leaves}


def read_run(workdir: Path) -> FinishedRun:
    """What a finished run left in its work directory."""
    result = json.loads((workdir / "result.json").read_text())
    return FinishedRun(
        newest=_last(workdir / "checkpoints"),
        best=_last(workdir / "best"),
        metrics=(workdir / "metrics.jsonl").read_bytes(),
        result={name: value for name, value in result.items() if name not in _TIMES},
        rubbish=[
            *(str(path.relative_to(workdir)) for path in workdir.rglob(".*")),
            *(
                f"{folder}/{path.name}"
                for folder in ("checkpoints", "best")
                for path in (workdir / folder).iterdir()
                if not path.name.isdecimal() and ".damaged" not in path.name
            ),
        ],
    )


def _last(folder: Path) -> Saved:
    step = steps(folder)[-1]
    checkpoint = (folder / str(step)).resolve()
    return Saved(step, arrays_of(checkpoint), meta_of(checkpoint).get("evaluation"))


def differences(run: FinishedRun, reference: FinishedRun) -> list[str]:
    """A sentence on each thing that is another one in the reference; none where all are equal."""
    found = [
        *_of_saved("the last checkpoint", run.newest, reference.newest),
        *_of_saved("the best checkpoint", run.best, reference.best),
    ]
    ours, theirs = run.metrics.splitlines(), reference.metrics.splitlines()
    if run.metrics != reference.metrics:
        lines = [n for n, pair in enumerate(zip(ours, theirs, strict=False), 1) if len({*pair}) > 1]
        first = lines[0] if lines else min(len(ours), len(theirs)) + 1
        found.append(
            f"metrics.jsonl has {len(ours)} lines and should have {len(theirs)}; the first that "
            f"differs is line {first}"
        )
    for name in sorted(run.result.keys() | reference.result.keys()):
        if (is_ := run.result.get(name)) != (should := reference.result.get(name)):
            found.append(f"result.json: {name} is {is_} and should be {should}")
    if run.rubbish:
        found.append(f"{', '.join(run.rubbish)} should not be there")
    return found


def _of_saved(which: str, ours: Saved, theirs: Saved) -> list[str]:
    found = []
    if ours.step != theirs.step:
        found.append(f"{which} is of step {ours.step} and should be of {theirs.step}")
    if ours.evaluation != theirs.evaluation:
        found.append(f"{which} was saved with another evaluation")
    for name in sorted(ours.arrays.keys() | theirs.arrays.keys()):
        if name not in ours.arrays or name not in theirs.arrays:
            found.append(f"{which}: only one of the two has {name}")
            continue
        # NaN equals itself here, and 0 is not -0.
        here, there = ours.arrays[name], theirs.arrays[name]
        same_form = here.dtype == there.dtype and here.shape == there.shape
        if not same_form or here.tobytes() != there.tobytes():
            found.append(f"{which}: {name} differs")
    return found
