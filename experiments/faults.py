"""That a run cannot be lost, for anyone to see: ``python -m experiments.faults``.

    python -m experiments.faults --kills=100 --seed=0
    python -m experiments.faults --kills=0 --sigterms=5

A small run on the digits, with everything on that has a state, is made undisturbed, and then again
and again with faults: killed, asked to stop, its checkpoints damaged, its devices changed. Whenever
a run comes to its end, it must be the undisturbed one to the bit. Status 0 when all were, else 1.
"""

import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import fault_kills, report
from experiments.commandline import run_main
from experiments.fault_series import Bench, Series
from experiments.options import parse_options
from experiments.same_run import FinishedRun, differences, read_run
from experiments.small_run import SmallRun
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """How many faults of each kind; 0 leaves a kind out.

    Attributes:
      seed: of the faults; all that is random in them follows from it.
      kills: SIGKILL at instants uniform over what is left of a run.
      file_kills: SIGKILL at the creation of a file in a save.
      manifest_kills: SIGKILL at the creation or the closing of a checkpoint's manifest, or at the
        rename after it, by which the checkpoint counts.
      record_kills: SIGKILL at the making or the growing of any other file of a run.
      workdir: a folder for the runs, which stay; None for a temporary one, which stays only when
        something failed.
      output: a file that the result is written to as JSON.
    """

    seed: int = 0
    kills: int = 100
    file_kills: int = 30
    manifest_kills: int = 30
    record_kills: int = 30
    workdir: str | None = None
    output: str | None = None


def _say(line: str) -> None:
    print(line, flush=True)


def make_bench(folder: Path, config: FaultsConfig) -> Bench:
    """Makes the undisturbed runs: one that compiles, and one that is timed."""
    found: list[FinishedRun] = []
    for name in ("undisturbed", "undisturbed-again"):
        workdir = folder / name
        with SmallRun(workdir, folder / f"{name}.logs", cache=folder / "compiled") as run:
            begin = 0.0
            while not run.ended:
                time.sleep(0.005)
                records = workdir / "metrics.jsonl"
                if not begin and records.exists() and records.stat().st_size:
                    begin = run.seconds
            whole = run.seconds
            if run.wait(0) != [0]:
                raise UserError(f"the undisturbed run failed: {run.printed()}")
        found.append(read_run(workdir))
    if wrong := differences(*found):
        raise UserError(f"two undisturbed runs differ: {'; '.join(wrong)}")
    _say(f"An undisturbed run takes {whole:.1f} s, {begin:.1f} s of them before its first record.")
    return Bench(folder, config.seed, _say, {1: found[0]}, begin, whole)


def main(argv: Sequence[str]) -> int:
    """Makes the faults; returns the exit status."""
    config = parse_options(
        argv, FaultsConfig(), program="python -m experiments.faults", description=__doc__ or ""
    )
    folder = Path(config.workdir or tempfile.mkdtemp(prefix="jaxcnn-faults-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bench = make_bench(folder, config)
    kinds = {
        "kills": fault_kills.at_random(bench),
        "file_kills": fault_kills.at_a_file,
        "manifest_kills": fault_kills.at_a_manifest,
        "record_kills": fault_kills.at_a_record,
    }
    series = [Series(bench, name, getattr(config, name), kinds[name]) for name in kinds]
    for one in series:
        one.make()
    result: dict[str, Any] = {one.name: one.summary() for one in series}
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "faults"))
