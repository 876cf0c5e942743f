"""From a configuration to a trained and evaluated network: the one page where everything meets."""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from experiments import commandline, environment, results
from experiments.config import FREE_AMONG_PROCESSES, Experiment
from experiments.copies import bring_back, copied
from experiments.images import statistics_of
from experiments.network import on_devices
from experiments.ownership import Ownership
from experiments.parts import make_parts
from experiments.start import (
    about_weights,
    initial_state,
    preprocessing_of,
    trained_variables,
)
from experiments.trainer import train
from experiments.workdir import Workdir, changes
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.data.cache import cache_folder
from jaxcnn.errors import UserError
from jaxcnn.inspection.pictures import draw_curves
from jaxcnn.training.activity import Timeline, process_began
from jaxcnn.training.determinism import demand_determinism
from jaxcnn.training.devices import ParallelConfig
from jaxcnn.training.ending import AGAIN, leave
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.processes import from_first, joined, wait_for_all
from jaxcnn.training.records import read_metrics, write_result
from jaxcnn.training.watchdog import watched
from jaxcnn.version import __version__

_STOPPED = "Stopped before there was anything to save; the same command goes on from there."


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A command: its presets under one name.

    Attributes:
      name: as in ``python -m experiments.NAME``.
      description: what ``--help`` begins with.
      presets: configurations by name.
      summaries: what each preset is, in a few words.
      default: the preset used without ``--config``.
    """

    name: str
    description: str
    presets: Mapping[str, Experiment]
    summaries: Mapping[str, str]
    default: str


def main(recipe: Recipe, argv: Sequence[str] | None = None) -> int:
    """Runs a recipe from its command line and returns the exit status.

    0 is done, 1 a bug, 2 the user's mistake, 75 'start the same command again'.
    """

    def command(words: Sequence[str], output: Output) -> int:
        config, preset = commandline.parse(
            words,
            presets=recipe.presets,
            default=recipe.default,
            program=f"python -m experiments.{recipe.name}",
            description=recipe.description,
            summaries=recipe.summaries,
        )
        # Called by other code, the process began for something else.
        began = process_began() if argv is None else None
        return run(config, recipe.name, preset, output, began=began)

    return run_main(command, recipe.name, sys.argv[1:] if argv is None else argv)


def run(
    config: Experiment,
    recipe: str,
    preset: str,
    output: Output | None = None,
    *,
    began: float | None = None,
) -> int:
    """Trains and evaluates; all that can be wrong is looked for before anything slow starts.

    Args:
      config: the whole configuration.
      recipe: the command's name, for messages and the default work directory.
      preset: the preset's name, likewise.
      output: where the result goes; None for text on stdout.
      began: when the start of the run began, by ``time.monotonic``; None for now.

    Returns:
      The exit status, 0 or 75.

    Raises:
      UserError: the configuration, the data or the work directory cannot work.
    """
    config.check()
    timeline = Timeline(began)
    stop = StopRequest(lambda: leave(AGAIN, _STOPPED, told=_STOPPED))
    with stop.listening():
        set_up_jax(config.parallel)
        with (
            joined(config.parallel, timeline, stop) as others,
            watched(timeline, config.train.hang_limit, functools.partial(_hung, others)),
            Ownership() as ownership,
        ):
            return _run(config, recipe, preset, output or Output(), ownership, stop, timeline)


def _hung(others: Callable[[], str], why: str) -> None:
    """Ends a run that no longer moves."""
    also = f"; {doing}" if (doing := others()) else ""
    told = (
        f"process {jax.process_index()}: {why} (train.hang_limit){also}; start the same command "
        "again."
    )
    leave(AGAIN, told, told=told)


def _run(
    config: Experiment,
    recipe: str,
    preset: str,
    output: Output,
    ownership: Ownership,
    stop: StopRequest,
    timeline: Timeline,
) -> int:
    """The run, once its processes are joined."""
    started = time.monotonic()
    check_same_command(config)
    primary = jax.process_index() == 0
    parts = make_parts(config)
    layout, data, weights, shapes = parts.layout, parts.data, parts.weights, parts.shapes
    workdir = Workdir(workdir_of(config, recipe, preset), config, parts.facts, ownership)
    if config.checkpoint.bucket is not None:
        said = from_first(lambda: bring_back(workdir))
        if primary:
            print("".join(f"{each}\n" for each in said), end="", file=sys.stderr, flush=True)
    result = from_first(lambda: workdir.inspect(state_bytes=parts.state_bytes))
    if primary:
        print(
            f"jaxcnn {__version__}: {recipe} {preset} on {environment.hardware(layout.devices)}; "
            f"work directory {workdir.path}",
            flush=True,
        )
        if split := config.parallel.split_layers(shapes.params):
            print(f"Split over {config.parallel.model} devices: {', '.join(split)}.", flush=True)
        if config.train.accumulate > 1 and shapes.batch_stats:
            print(
                "BatchNorm's statistics are those of micro-batches of "
                f"{config.train.batch_size // config.train.accumulate} examples each "
                f"(train.accumulate={config.train.accumulate}), not of the whole batch.",
                flush=True,
            )
        platform = layout.devices[0].platform
        if config.parallel.deterministic and platform != "gpu":
            print(f"parallel.deterministic is about GPUs; on {platform} it changes nothing.")
    if result is not None:
        if primary:
            with copied(workdir, timeline):  # what a killed process has left to do
                print("This run is finished.", flush=True)
                output.result(result, results.text(result, workdir.path))
        return 0

    continued = workdir.has_checkpoints()
    # From here on things are slow; an image that cannot be read is met before anything is written.
    first_batch = data.train_batches[0]
    trained = None if continued else trained_variables(config, shapes, weights)
    if primary and weights is not None and not continued:
        print(about_weights(config, weights), flush=True)
    statistics = statistics_of(data.train, config, workdir.path, show=primary)
    preprocessing = preprocessing_of(config, data, statistics, weights)
    _make(workdir)
    try:
        with copied(workdir, timeline):
            result = train(
                config,
                workdir,
                layout,
                on_devices(parts.model, layout, config.model.convolution),
                # Made by one device's form of the network: it is the same on every layout.
                functools.partial(initial_state, parts.make_state, trained),
                data,
                first_batch,
                statistics,
                preprocessing,
                stop,
                timeline,
            )
            if primary:
                result["seconds"] = round(time.monotonic() - started, 1)
                result["continued"] = continued
                draw_curves(
                    read_metrics(workdir.path / "metrics.jsonl"),
                    workdir.path / "curves.png",
                    title=f"{recipe} {preset}",
                )
                write_result(workdir.path, result)
                output.result(result, results.text(result, workdir.path))
    except Interrupted as interruption:
        if primary:
            again = ", without --config.restart," if config.restart else ""
            print(
                f"Stopped at step {interruption.step}; the same command{again} goes on from there."
            )
        return AGAIN
    return 0


def workdir_of(config: Experiment, recipe: str, preset: str) -> Path:
    """The folder that the configuration names, or the one of the recipe and the preset."""
    return Path(config.workdir or f"runs/{recipe}/{preset}")


def set_up_jax(config: ParallelConfig) -> None:
    """What every run relies on in jax, before the first device is touched.

    Raises:
      UserError: jax cannot be set up so.
    """
    if not jax.config.values["jax_threefry_partitionable"]:
        raise UserError(
            "jax_threefry_partitionable is off, so random numbers would depend on the number of "
            "devices; unset JAX_THREEFRY_PARTITIONABLE."
        )
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
        # A start has some ten small programs beside the step; jax keeps those of a second or more.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if config.deterministic:
        demand_determinism()


def check_same_command(config: Experiment) -> None:
    """Raises a UserError on a process that was started with other values than process 0."""
    differ = changes(
        from_first(lambda: commandline.to_dict(config)), config, free=FREE_AMONG_PROCESSES
    )
    if differ:
        raise UserError(
            f"this process was started with other values than process 0 ({'; '.join(differ)}); "
            "give all of them the same command, but for parallel.process."
        )


def check_shared(workdir: Path, mark: Path) -> None:
    """Raises a UserError where a mark that process 0 made at the work directory is not seen."""
    if not mark.exists():
        raise UserError(
            f"the work directory {workdir} is another one here than on process 0; give one on a "
            "disk that all processes share by --config.workdir=FOLDER."
        )


def _make(workdir: Workdir) -> None:
    """Makes the work directory, once every process has checked all it can, and for all of them."""
    wait_for_all()
    mark = workdir.path / from_first(workdir.make)
    check_shared(workdir.path, mark)
    wait_for_all()
    if jax.process_index() == 0:
        mark.rmdir()
