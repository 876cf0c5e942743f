"""From a configuration to a trained and evaluated network: the one page where everything meets."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments import commandline, report
from experiments.config import FREE_AMONG_PROCESSES, Experiment
from experiments.images import STATISTICS, Data, augment_by, open_data, statistics_of
from experiments.network import make_model
from experiments.start import (
    about_weights,
    initial_state,
    load_weights,
    preprocessing_facts,
    preprocessing_of,
    trained_variables,
)
from experiments.workdir import Workdir, changes
from jaxcnn.data.cache import cache_folder
from jaxcnn.data.pipeline import Batch, iterate
from jaxcnn.data.statistics import Statistics
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.inspection.pictures import draw_batch, draw_curves
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.progress import Progress
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.devices import Layout, make_layout
from jaxcnn.training.interruption import Interrupted, StopRequest
from jaxcnn.training.loop import Trainer, evaluate
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.optimizers import make_optimizer
from jaxcnn.training.processes import from_first, joined, wait_for_all
from jaxcnn.training.records import Records, read_metrics, write_result
from jaxcnn.training.schedules import make_schedule
from jaxcnn.training.steps import TrainState, create_state, make_eval_step, make_train_step
from jaxcnn.version import __version__

AGAIN = 75  # exit status: start the same command again


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

    def command(arguments: Sequence[str]) -> int:
        config, preset = commandline.parse(
            arguments,
            presets=recipe.presets,
            default=recipe.default,
            program=f"python -m experiments.{recipe.name}",
            description=recipe.description,
            summaries=recipe.summaries,
        )
        return run(config, recipe.name, preset)

    return commandline.run_main(command, recipe.name, sys.argv[1:] if argv is None else argv)


def run(config: Experiment, recipe: str, preset: str) -> int:
    """Trains and evaluates; all that can be wrong is looked for before anything slow starts.

    Args:
      config: the whole configuration.
      recipe: the command's name, for messages and the default work directory.
      preset: the preset's name, likewise.

    Returns:
      The exit status, 0 or 75.

    Raises:
      UserError: the configuration, the data or the work directory cannot work.
    """
    config.check()
    _set_up_jax()
    with joined(config.parallel):
        return _run(config, recipe, preset)


def _run(config: Experiment, recipe: str, preset: str) -> int:
    """The run, once its processes are joined."""
    started = time.monotonic()
    _check_same_command(config)
    primary = jax.process_index() == 0
    layout = make_layout(config.parallel)
    data = open_data(config, layout)
    weights = load_weights(config, data)
    if weights is None:
        model = make_model(config.model, num_classes=len(data.train.class_names))
    else:
        model = weights.model
    make_state = _state_maker(config, model, data)
    facts = data.facts() | preprocessing_facts(weights)
    workdir = Workdir(Path(config.workdir or f"runs/{recipe}/{preset}"), config, facts)
    try:
        shapes = jax.eval_shape(make_state)
    except UserError as error:
        size = "x".join(map(str, data.image_shape))
        raise UserError(
            f"model.name={config.model.name} on images of {size} (data.image_size): {error}"
        ) from error
    config.optimizer.check_layers(shapes.params)
    config.parallel.check_layers(shapes.params)
    result = from_first(lambda: workdir.inspect(state_bytes=_bytes(shapes)))
    if primary:
        print(
            f"jaxcnn {__version__}: {recipe} {preset} on {report.hardware(layout.devices)}; "
            f"work directory {workdir.path}",
            flush=True,
        )
        if split := config.parallel.split_layers(shapes.params):
            print(f"Split over {config.parallel.model} devices: {', '.join(split)}.", flush=True)
    if result is not None:
        if primary:
            print("This run is finished.\n" + report.text(result, workdir.path))
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
        result = _train(
            config,
            workdir,
            layout,
            model.clone(axis_name=layout.axis_name),
            # Made by one device's form of the network: it is the same on every layout.
            functools.partial(initial_state, make_state, trained),
            data,
            first_batch,
            statistics,
            preprocessing,
        )
    except Interrupted as interruption:
        if primary:
            again = ", without --config.restart," if config.restart else ""
            print(
                f"Stopped at step {interruption.step}; the same command{again} goes on from there."
            )
        return AGAIN
    if primary:
        result["seconds"] = round(time.monotonic() - started, 1)
        result["continued"] = continued
        draw_curves(
            read_metrics(workdir.path / "metrics.jsonl"),
            workdir.path / "curves.png",
            title=f"{recipe} {preset}",
        )
        write_result(workdir.path, result)
        print(report.text(result, workdir.path))
    return 0


def _train(
    config: Experiment,
    workdir: Workdir,
    layout: Layout,
    model: nn.Module,
    make_initial: Callable[[], TrainState],
    data: Data,
    first_batch: Batch,
    statistics: Statistics | None,
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """Trains from the newest checkpoint, or from the start, and gives the result."""
    primary = jax.process_index() == 0
    steps_per_epoch = data.train_batches.steps_per_epoch
    train_step = make_train_step(
        model,
        make_optimizer(config.optimizer),
        make_schedule(
            config.schedule,
            config.optimizer.learning_rate,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * config.train.epochs,
        ),
        augment_by(preprocessing, config, statistics),
        seed=config.seed,
        steps_per_epoch=steps_per_epoch,
        log_every=config.train.log_every,
        plateau_factor=config.schedule.factor,
        ema=config.optimizer.ema,
        auxiliary_weight=config.train.auxiliary_weight,
        freeze=config.optimizer.freeze,
        axis_name=layout.axis_name,
    )
    eval_step = layout.compile(
        make_eval_step(model, preprocessing, axis_name=layout.axis_name), donate=(1,)
    )
    stop = StopRequest()

    def evaluate_state(state: TrainState) -> ClassSums:
        with Progress(total=len(data.eval), description="evaluation", enabled=primary) as bar:
            return evaluate(
                state,
                eval_step,
                iterate(data.eval_batches, 0, len(data.eval_batches), config.data),
                layout=layout,
                num_classes=model.num_classes,
                stop=stop,
                progress=bar,
            )

    newest = Checkpoints(workdir.path / "checkpoints", keep=config.checkpoint.keep)
    best = Checkpoints(workdir.path / "best", keep=1)
    state = _restore(layout.distribute(make_initial()), newest, layout, show=primary)
    step, evaluated = map(int, layout.fetch((state.step, state.evaluated)))
    if config.resume == "force":  # the best of another future; under the same values it comes again
        best.drop_after(step)
    if primary:
        workdir.claim()
        _write_inputs(workdir.path, data, first_batch, statistics)
    images = config.train.batch_size
    with (
        stop.listening(),
        Records(
            workdir.path, step=step, evaluated=evaluated * steps_per_epoch == step, enabled=primary
        ) as records,
        Progress(
            total=config.train.epochs * steps_per_epoch * images,
            initial=step * images,
            per_epoch=steps_per_epoch * images,
            description="training",
            enabled=primary,
        ) as bar,
    ):
        state, sums = Trainer(
            layout=layout,
            train_step=layout.compile(train_step, donate=(0,)),
            evaluate=evaluate_state,
            batches=lambda start, end: iterate(data.train_batches, start, end, config.data),
            steps_per_epoch=steps_per_epoch,
            config=config.train,
            schedule=config.schedule,
            checkpoint_every=config.checkpoint.every_steps,
            newest=newest,
            best=best,
            meta={
                "config": commandline.to_dict(config),
                "preprocessing": preprocessing.to_json(),
                "class_names": list(data.train.class_names),
                "versions": report.versions(),
            },
            records=records,
            progress=bar,
            stop=stop,
        ).run(state)
    step = int(layout.fetch(state.step))
    result = report.result(
        sums,
        split=f"{data.eval.name} {config.data.eval_split}",
        class_names=data.eval.class_names,
        epochs=step // steps_per_epoch,
        steps=step,
        best=_best(best, steps_per_epoch),
        devices=layout.devices,
        skipped=len(data.eval) - int(sums.total.count),
    )
    newest.close()
    best.close()
    return result


def _bytes(shapes: Any) -> int:
    """What the arrays of a tree take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def _best(best: Checkpoints, steps_per_epoch: int) -> dict[str, float] | None:
    """The metrics of the best evaluation, and the epoch after which it was."""
    if not best.steps():  # no evaluation gave a number
        return None
    step = best.steps()[-1]
    return {"epoch": step // steps_per_epoch, **best.meta(step)["evaluation"]}


def _set_up_jax() -> None:
    """What every run relies on in jax, before the first device is touched."""
    if not jax.config.values["jax_threefry_partitionable"]:
        raise UserError(
            "jax_threefry_partitionable is off, so random numbers would depend on the number of "
            "devices; unset JAX_THREEFRY_PARTITIONABLE."
        )
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))


def _check_same_command(config: Experiment) -> None:
    """Raises a UserError on a process that was started with other values than process 0."""
    differ = changes(
        from_first(lambda: commandline.to_dict(config)), config, free=FREE_AMONG_PROCESSES
    )
    if differ:
        raise UserError(
            f"this process was started with other values than process 0 ({'; '.join(differ)}); "
            "give all of them the same command, but for parallel.process."
        )


def _make(workdir: Workdir) -> None:
    """Makes the work directory, once every process has checked all it can, and for all of them."""
    wait_for_all()
    mark = workdir.path / from_first(workdir.make)
    if not mark.exists():
        raise UserError(
            f"the work directory {workdir.path} is another one here than on process 0; give one on "
            "a disk that all processes share by --config.workdir=FOLDER."
        )
    wait_for_all()
    if jax.process_index() == 0:
        mark.rmdir()


def _state_maker(config: Experiment, model: nn.Module, data: Data) -> Callable[[], TrainState]:
    """A function that makes the state before the first step, from random parameters."""
    return functools.partial(
        create_state,
        model,
        make_optimizer(config.optimizer),
        jnp.zeros((1, *data.image_shape), jnp.float32),
        seed=config.seed,
        averaged=config.optimizer.ema is not None,
    )


def _restore(state: TrainState, newest: Checkpoints, layout: Layout, *, show: bool) -> TrainState:
    """The state of the newest whole checkpoint, on the devices there are now, or ``state``."""
    step, complaints = from_first(newest.newest_sound)
    if show:
        for complaint in complaints:
            print(f"Warning: {complaint}", file=sys.stderr)
    if step is None:
        if complaints:
            raise UserError(
                f"no checkpoint in {newest.folder} is whole; put one back, or start anew with "
                "--config.restart=True."
            )
        return state
    if complaints:
        newest.set_aside_after(step)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), layout.to_mesh(state)
    )
    if show:
        print(f"Continuing from step {step}.", flush=True)
    return layout.from_mesh(newest.restore(step, like))


def _write_inputs(
    path: Path, data: Data, first_batch: Batch, statistics: Statistics | None
) -> None:
    """What the network will see: the statistics of the data, and a picture of the first batch."""
    if statistics is not None:
        write_atomically(path / STATISTICS, json.dumps(statistics.to_json(), indent=2) + "\n")
    images, labels = first_batch["image"], first_batch["label"]
    draw_batch(images, labels, data.train.class_names, path / "batch.png")
