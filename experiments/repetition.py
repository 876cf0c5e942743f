"""Configurations trained from several seeds, one run after another, each in its own folder."""

import contextlib
import dataclasses
import fnmatch
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jax

from experiments.config import Experiment
from experiments.outcomes import Outcome, read_outcome
from experiments.run import run
from experiments.workdir import set_aside
from jaxcnn.errors import UserError, unknown_name
from jaxcnn.files import writing


@dataclasses.dataclass(frozen=True)
class RunsConfig:
    """Which runs are made, and where.

    Attributes:
      seeds: each configuration is trained once from each.
      only: the configurations to train, by name or by patterns such as 'plain*'; () for all.
      workdir: the folder that holds a folder of each run; None for `runs/COMMAND/PRESET`.
      restart: begin anew, renaming the work directory of an earlier start.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    only: tuple[str, ...] = ()
    workdir: str | None = None
    restart: bool = False

    def check_seeds(self) -> None:
        """Raises a UserError for seeds that are none, or twice the same."""
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(
                f"seeds={','.join(map(str, self.seeds)) or '()'} must be one or more, each once, "
                "such as 0,1,2."
            )


def make_folder(folder: Path, *, restart: bool) -> None:
    """Makes the folder of the runs; on a restart that of an earlier start is renamed.

    Raises:
      UserError: it cannot be made.
    """
    with writing(folder):
        if restart and folder.exists():
            set_aside(folder)
        folder.mkdir(parents=True, exist_ok=True)


def chosen(names: Iterable[str], only: Sequence[str]) -> list[str]:
    """The names that equal or match one of ``only``, in their order; all where that is empty.

    Raises:
      UserError: one of ``only`` matches none.
    """
    names = list(names)
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise unknown_name("variation", pattern, names)
    return [n for n in names if not only or any(fnmatch.fnmatchcase(n, p) for p in only)]


def plan(
    runs: Mapping[str, Experiment], seeds: Sequence[int], folder: Path
) -> dict[tuple[str, int], Experiment]:
    """Each configuration from each seed, by name and seed, with ``folder/NAME/seed_N`` its own.

    Raises:
      UserError: a configuration cannot work.
    """
    planned = {
        (name, seed): dataclasses.replace(
            config, seed=seed, workdir=str(folder / name / f"seed_{seed}")
        )
        for name, config in runs.items()
        for seed in seeds
    }
    for (name, _), config in planned.items():
        if config.parallel.detect or config.parallel.coordinator is not None:
            raise UserError(
                "this command makes one run after another in one process; leave "
                "parallel.coordinator and parallel.detect out."
            )
        try:
            config.check()
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return planned


def repeat(
    planned: Mapping[tuple[str, int], Experiment], command: str
) -> dict[str, list[Outcome]] | None:
    """Trains what is planned.

    What an earlier, interrupted call finished is not done again, and what it began goes on.

    Args:
      planned: as of ``plan``.
      command: the command's name, for messages.

    Returns:
      The outcomes by name, in the order of the seeds; None when it was asked to stop.

    Raises:
      UserError: a run cannot work on its data, or a folder holds another run than its own.
    """
    outcomes: dict[str, list[Outcome]] = {}
    started = time.monotonic()
    for number, ((name, seed), config) in enumerate(planned.items(), start=1):
        with contextlib.redirect_stdout(io.StringIO()):  # a page for each run; its files have it
            status = run(config, command, f"{name}, seed {seed}")
        if status:
            print(
                f"Stopped in run {number} of {len(planned)}; the same command goes on from there."
            )
            return None
        jax.clear_caches()  # the compiled steps of a run serve no other one
        outcome = read_outcome(Path(config.workdir or ""), seed)
        outcomes.setdefault(name, []).append(outcome)
        left = (time.monotonic() - started) / number * (len(planned) - number) / 60
        print(
            f"[{number} of {len(planned)}] {name}, seed {seed}: top-1 error {outcome.error:.2%}"
            + (f"; about {left:.0f} min left" if number < len(planned) else ""),
            flush=True,
        )
    return outcomes
