"""That a run cannot be lost, for anyone to see: ``python -m experiments.faults``.

    python -m experiments.faults --kills=100 --seed=0
    python -m experiments.faults --kills=5 --file_kills=0 --sigterms=0 --moves=False

A small run on the digits, with everything on that has a state, is made undisturbed and then with
faults: killed, asked to stop, one of its processes lost, its checkpoints damaged, its devices
changed. Whenever a run comes to its end it must be the undisturbed one: parameters, optimizer,
averages, plateau, stopping, best checkpoint, records and result, to the bit. The exit status is 0
when all were, and 1 otherwise.
"""

import dataclasses
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax

from experiments import environment
from experiments.faults import kills, losses, stops
from experiments.faults.bench import Bench
from experiments.faults.damage import Damage
from experiments.faults.moves import Moves
from experiments.faults.series import Series
from experiments.options import parse_options
from experiments.outcomes import table
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing

_FAILED, _INTERRUPTED = 1, 130  # exit statuses


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """How many faults of each kind; 0 leaves a kind out.

    Attributes:
      seed: of the faults; all that is random in them follows from it.
      kills: SIGKILL at instants uniform over what is left of a run.
      file_kills: SIGKILL at the creation of a file in a save.
      manifest_kills: SIGKILL at the creation or the closing of a checkpoint's manifest, or at the
        rename after it, by which the checkpoint counts.
      record_kills: SIGKILL when a step, an epoch or an evaluation is recorded, or at the making or
        the growing of any other file of a run.
      sigterms: SIGTERM in start-up, training, evaluation, saving and compilation, in turn.
      process_sigterms: the same with two processes, to one of them.
      process_kills: SIGKILL to one of two processes; the other must end and name it.
      process_stops: the same with SIGSTOP, by which a process hangs.
      limit: seconds that the other process has for it.
      flips: single bytes changed in the newest checkpoint of a stopped run, one at a time; then
        each of its files is truncated, and each deleted.
      damaged_restarts: a stopped run's newest checkpoint is damaged, and the run started again.
      moves: stop and go on over 8, 4, 2, 1 and 8 devices and over 1, 2 and 4 processes.
      workdir: a folder for the runs, which stay; None for a temporary one, which stays only when
        something failed.
      output: a file that the result is written to as JSON.
    """

    seed: int = 0
    kills: int = 100
    file_kills: int = 30
    manifest_kills: int = 30
    record_kills: int = 30
    sigterms: int = 20
    process_sigterms: int = 20
    process_kills: int = 2
    process_stops: int = 2
    limit: float = 60
    flips: int = 200
    damaged_restarts: int = 6
    moves: bool = True
    workdir: str | None = None
    output: str | None = None

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < 0:
                raise UserError(f"--{field.name}={value} must be 0 or more.")


class Kind(Protocol):
    """Faults of one kind: they are made, and what came of them is told."""

    failures: list[str]

    def make(self) -> None:
        """Makes them all; an interrupt leaves those that were made."""

    def summary(self) -> dict[str, Any]:
        """What came of them, JSON-able."""


def kinds(config: FaultsConfig, bench: Bench) -> dict[str, Kind]:
    """The kinds of faults that are asked for, by name, in the order in which they are made."""

    def lost(number: signal.Signals) -> dict[str, Any]:
        return {"strike": losses.of_a_process(number, config.limit), "processes": 2}

    stop = stops.at_a_moment(bench)
    series: dict[str, dict[str, Any]] = {
        "kills": {"strike": kills.at_random(bench)},
        "file_kills": {"strike": kills.at_a_file},
        "manifest_kills": {"strike": kills.at_a_manifest},
        "record_kills": {"strike": kills.at_a_record},
        "sigterms": {"strike": stop, "keeps": True},
        "process_sigterms": {"strike": stop, "keeps": True, "processes": 2},
        "process_kills": lost(signal.SIGKILL),
        "process_stops": lost(signal.SIGSTOP),
    }
    found: dict[str, Kind] = {
        name: Series(bench, name, count, **fields)
        for name, fields in series.items()
        if (count := getattr(config, name))
    }
    if config.flips or config.damaged_restarts:
        found["damage"] = Damage(bench, config.flips, config.damaged_restarts)
    if config.moves:
        found["moves"] = Moves(bench)
    return found


def lines_of(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """What came of all kinds as a Markdown table."""
    rows = []
    for name, of in summaries.items():
        if name == "damage":
            noticed = ", ".join(f"{n} of {of['made'][k]} {k}" for k, n in of["noticed"].items())
            made, words = f"{sum(of['made'].values())}", f"noticed: {noticed}"
            same = f"{of['runs_the_same']} of {of['restarts']}"
        elif name == "moves":
            largest = max(of["largest_loss_difference"].values(), default=float("nan"))
            made = str(of["made"])
            words = f"losses within {largest:.1e}, {of['examples_compared']:,} examples in order"
            same = str(len(of["largest_loss_difference"]))
        else:
            again, made = of["steps_made_again"], f"{of['made']} of {of['asked']}"
            phases = ", ".join(f"{count} in {phase}" for phase, count in of["phases"].items())
            statuses = ", ".join(f"{status} {n} times" for status, n in of["statuses"].items())
            words = f"{phases}; status {statuses}; ended within {of['longest_end_seconds']} s; "
            words += f"steps made again: {again['total']}, {again['most']} at most"
            same = str(of["runs_the_same"])
        rows.append((f"`{name}`", made, same, str(len(of["failures"])), words))
    return table(("fault", "made", "runs found the same", "failures", "what was seen"), rows)


def _say(line: str) -> None:
    print(line, flush=True)


def _folder(config: FaultsConfig) -> Path:
    if config.workdir is None:
        return Path(tempfile.mkdtemp(prefix="jaxcnn-faults-")).resolve()
    folder = Path(config.workdir).resolve()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"--workdir={config.workdir} is not empty; give a new folder.")
    return folder


def main(argv: Sequence[str], output: Output) -> int:
    """Makes the faults; returns the exit status."""
    config = parse_options(
        argv, FaultsConfig(), program="python -m experiments.faults", description=__doc__ or ""
    )
    config.check()
    # As Ctrl-C: what was made is told, and no process is left behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    jax.config.update("jax_platforms", "cpu")  # which reads checkpoints here, and trains there
    folder, began = _folder(config), time.monotonic()
    bench = Bench(folder, config.seed, _say)
    wanted, interrupted = kinds(config, bench), False
    try:
        bench.reference(1)
        _say(
            f"An undisturbed run takes {bench.whole:.1f} s, {bench.begin:.1f} s of them before its "
            f"first record; the runs are in {folder}."
        )
        for kind in wanted.values():
            kind.make()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    summaries = {name: kind.summary() for name, kind in wanted.items()}
    failures = [failure for kind in wanted.values() for failure in kind.failures]
    words = [word for word in argv if not word.startswith(("--output", "--workdir"))]
    result = {
        "command": " ".join(["python -m experiments.faults", *words]),
        "seed": config.seed,
        "interrupted": interrupted,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "faults": summaries,
        "hardware": environment.hardware(jax.devices()),
        "versions": environment.versions(),
    }
    said = [f"\n{lines_of(summaries)}\n"]
    if failures:
        said.append(f"{len(failures)} failures, shown above.")
    if interrupted:
        said.append("Interrupted: the table is of what was made until then.")
    output.result(result, "\n".join(said))
    if config.output is not None:
        write_atomically(Path(config.output), json.dumps(result, indent=2) + "\n")
    if config.workdir is None and not failures:
        shutil.rmtree(folder)
    elif failures:
        print(f"The runs and what they printed are in {folder}.")
    return _FAILED if failures else _INTERRUPTED if interrupted else 0
