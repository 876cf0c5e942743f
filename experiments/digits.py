# PYTHON_ARGCOMPLETE_OK
"""Every recipe's presets on the embedded digits, from three seeds: the table of the README.

    python -m experiments.digits
    python -m experiments.digits --config.only='vgg_imagenet/*,lenet_mnist/digits'

A preset is one of these when its name begins or ends with `digits` and it starts from random
parameters. Each run is the very one of its recipe's command, but for the seed.
"""

import dataclasses
import importlib
import json
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import experiments
from experiments import commandline, environment
from experiments.config import Experiment
from experiments.outcomes import Spread, summary, table
from experiments.repetition import RunsConfig, chosen, make_folder, plan, repeat
from experiments.run import AGAIN, Recipe
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.files import write_atomically


@dataclasses.dataclass(frozen=True)
class DigitsConfig(RunsConfig):
    """Which presets are run, and where to.

    Attributes:
      only: the presets to run, as RECIPE/PRESET or by patterns such as 'vgg_imagenet/*'; () for
        all.
      output: a file that the measurements are written to as JSON, besides `digits.json` in the
        work directory.
    """

    output: str | None = None


def recipes() -> list[Recipe]:
    """Every recipe of this folder, by name."""
    modules = [
        importlib.import_module(f"experiments.{module.name}")
        for module in pkgutil.iter_modules(experiments.__path__)
    ]
    return [module.RECIPE for module in modules if hasattr(module, "RECIPE")]


def digits_presets(recipes: Sequence[Recipe]) -> dict[str, Experiment]:
    """The presets on the digits that depend on no other run, as ``RECIPE/PRESET``."""
    return {
        f"{recipe.name}/{name}": config
        for recipe in recipes
        for name, config in recipe.presets.items()
        if (name.startswith("digits") or name.endswith("digits"))
        and config.model.initialize_from is None
        and config.model.weights is None
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The README's table: mean and deviation of top-1 accuracy over the seeds."""
    rows = []
    for name, of in result["presets"].items():
        recipe, preset = name.split("/")
        accuracy = Spread.of([1 - error for error in of["errors"]])
        rows.append(
            (
                f"`{recipe}`",
                f"`{preset}`",
                f"`{of['network']}`",
                accuracy.percent(),
                "" if of["seconds"] is None else f"{of['seconds']:.0f}",
            )
        )
    return table(("recipe", "preset", "network", "top-1 accuracy, %", "seconds"), rows)


def measure(config: DigitsConfig, presets: Mapping[str, Experiment], output: Output) -> int:
    """Runs the presets and writes what came of it; returns the exit status, 0 or 75.

    Raises:
      UserError: the configuration cannot work.
    """
    config.check_seeds()
    names = chosen(presets, config.only)
    folder = Path(config.workdir or "runs/digits/all")
    planned = plan({name: presets[name] for name in names}, config.seeds, folder)
    make_folder(folder, restart=config.restart)
    outcomes = repeat(planned, "digits")
    if outcomes is None:
        return AGAIN
    result = {
        "command": "python -m experiments.digits",
        "presets": {
            name: {"network": presets[name].model.name, **summary(of)}
            for name, of in outcomes.items()
        },
        "hardware": outcomes[names[0]][0].hardware,
        "versions": environment.versions(),
    }
    text, lines = json.dumps(result, indent=2) + "\n", markdown(result)
    write_atomically(folder / "digits.json", text)
    write_atomically(folder / "table.md", lines + "\n")
    if config.output is not None:
        write_atomically(Path(config.output), text)
    output.result(
        result,
        f"\n{lines}\n\nWritten to {folder}: digits.json, table.md, and a folder of each run.",
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status, as of ``run.main``."""

    def command(words: Sequence[str], output: Output) -> int:
        presets = digits_presets(recipes())
        config, _ = commandline.parse(
            words,
            presets={"all": DigitsConfig()},
            default="all",
            program="python -m experiments.digits",
            description=f"{__doc__}\nThey are: {', '.join(presets)}.",
            summaries={"all": "every one of them, three seeds"},
        )
        return measure(config, presets, output)

    return run_main(command, "digits", sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
