"""Studies: networks that differ in one thing, under one recipe and several seeds, and their errors.

A study's file names its variations and the recipe that they share; this is what runs them, and
makes of them a table, a picture and a JSON file.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import commandline, environment
from experiments.config import Experiment
from experiments.fields import fields_of, replaced
from experiments.outcomes import Outcome, Spread, summary, table
from experiments.repetition import RunsConfig, chosen, make_folder, plan, repeat
from experiments.run import AGAIN
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.inspection.pictures import Compared, draw_comparison


@dataclasses.dataclass(frozen=True)
class StudyConfig(RunsConfig, Experiment):
    """The recipe that the runs of a study share, and which runs there are.

    Attributes:
      seed: is set by the study, from `seeds`; leave it at 0.
      resume: what each of the runs does.
    """

    @classmethod
    def of(cls, experiment: Experiment, **fields: Any) -> "StudyConfig":
        """A recipe as the one that a study's runs share."""
        return cls(**vars(experiment) | fields)

    def check_runs(self) -> None:
        """Raises a UserError for seeds that are none, or twice the same."""
        self.check_seeds()
        if self.seed:
            raise UserError(f"seed={self.seed} is for one run; give seeds, such as 0,1,2.")

    def experiment(self) -> Experiment:
        """The recipe alone."""
        names = (field.name for field in dataclasses.fields(Experiment))
        return Experiment(**{name: getattr(self, name) for name in names} | {"restart": False})


@dataclasses.dataclass(frozen=True)
class Study:
    """A command that compares.

    Attributes:
      name: as in ``python -m experiments.NAME``.
      description: what ``--help`` begins with.
      presets: what the runs share, by name.
      summaries: what each preset is, in a few words.
      default: the preset used without ``--config``.
      variations: by name, the fields that each sets: dotted names and values.
      panels: how they are drawn: in each panel, variations by the label under which they stand.
    """

    name: str
    description: str
    presets: Mapping[str, StudyConfig]
    summaries: Mapping[str, str]
    default: str
    variations: Mapping[str, Mapping[str, Any]]
    panels: Mapping[str, Mapping[str, str]]


def main(study: Study, argv: Sequence[str] | None = None) -> int:
    """Runs a study from its command line and returns the exit status, as of ``run.main``."""

    def command(words: Sequence[str], output: Output) -> int:
        config, preset = commandline.parse(
            words,
            presets=study.presets,
            default=study.default,
            program=f"python -m experiments.{study.name}",
            description=study.description,
            summaries=study.summaries,
        )
        return run_study(study, config, preset, output)

    return run_main(command, study.name, sys.argv[1:] if argv is None else argv)


def run_study(study: Study, config: StudyConfig, preset: str, output: Output) -> int:
    """Trains every variation from every seed and writes what came of it.

    Returns:
      The exit status, 0 or 75.

    Raises:
      UserError: the configuration cannot work, or sets a field that the study varies.
    """
    config.check_runs()
    runs = {
        name: _varied(config, study.variations[name], study.presets.get(preset))
        for name in chosen(study.variations, config.only)
    }
    folder = Path(config.workdir or f"runs/{study.name}/{preset}")
    planned = plan(runs, config.seeds, folder)
    make_folder(folder, restart=config.restart)
    outcomes = repeat(planned, study.name)
    if outcomes is None:
        return AGAIN
    result = {
        "study": study.name,
        "preset": preset,
        "variations": {
            name: {"changes": study.variations[name], **summary(of)}
            for name, of in outcomes.items()
        },
        "config": commandline.to_dict(config),
        "hardware": next(iter(outcomes.values()))[0].hardware,
        "versions": environment.versions(),
    }
    lines = errors_table(result)
    draw_comparison(
        _panels(study.panels, outcomes), folder / "study.png", title=f"{study.name} {preset}"
    )
    write_atomically(folder / "table.md", lines + "\n")
    write_atomically(folder / "study.json", json.dumps(result, indent=2) + "\n")
    output.result(
        result,
        f"\n{lines}\n\n{_conclusion(result)}\n"
        f"Written to {folder}: study.json, table.md, study.png, and a folder of each run.",
    )
    return 0


def errors_table(result: Mapping[str, Any]) -> str:
    """The study's result as a Markdown table: mean and deviation of the errors over the seeds."""
    rows = [
        (
            name,
            Spread(**of["error"]).percent(),
            Spread(**of["training_error"]).percent(),
            str(len(of["seeds"])),
        )
        for name, of in result["variations"].items()
    ]
    return table(("variation", "top-1 error, %", "training error, last epoch, %", "seeds"), rows)


def _varied(
    config: StudyConfig, changes: Mapping[str, Any], preset: StudyConfig | None
) -> Experiment:
    """What the runs share with one variation's changes."""
    before = {} if preset is None else {f.name: f.default for f in fields_of(preset)}
    for field in fields_of(config):
        if field.name in changes and field.default != before.get(field.name, field.default):
            raise UserError(
                f"{field.name} is what this study varies; choose among its variations by "
                "--config.only, or leave it out."
            )
    varied = config.experiment()
    for name, value in changes.items():
        varied = replaced(varied, name, value)
    return varied


def _conclusion(result: Mapping[str, Any]) -> str:
    means = {name: of["error"]["mean"] for name, of in result["variations"].items()}
    best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    spreads = {name: Spread(**result["variations"][name]["error"]) for name in (best, worst)}
    examples = result["variations"][best]["examples"]
    return (
        f"Result: the lowest mean error is that of {best}, {spreads[best].percent()} %, the "
        f"highest that of {worst}, {spreads[worst].percent()} %, on {examples:,} images, one of "
        f"which is {1 / examples:.2%}."
    )


def _panels(
    panels: Mapping[str, Mapping[str, str]], outcomes: Mapping[str, Sequence[Outcome]]
) -> dict[str, list[Compared]]:
    """What is drawn: of each panel the variations that were run."""
    drawn = {
        title: [
            Compared(
                label=label,
                errors=[o.error for o in outcomes[name]],
                training_errors=[o.training_error for o in outcomes[name]],
                epochs=outcomes[name][0].epochs,
                training_curves=[o.curve for o in outcomes[name]],
                curves=[o.evaluations for o in outcomes[name]],
            )
            for label, name in panel.items()
            if name in outcomes
        ]
        for title, panel in panels.items()
    }
    return {title: compared for title, compared in drawn.items() if compared}
