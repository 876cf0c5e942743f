"""The training of a run: its steps, its evaluations and what is kept of them, put together."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from experiments import commandline, environment, results
from experiments.config import Experiment
from experiments.curvature import curvature_measurer
from experiments.images import STATISTICS, Data, augment_by
from experiments.start import restored
from experiments.tensorboard import first_filters, show_training
from experiments.workdir import Workdir
from jaxcnn.data.pipeline import Batch, EvalBatches, iterate
from jaxcnn.data.statistics import Statistics
from jaxcnn.files import write_atomically
from jaxcnn.inspection.batch import draw_batch
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.progress import Progress
from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.criteria import LOSSES, training_loss
from jaxcnn.training.devices import Layout
from jaxcnn.training.evaluation import evaluate
from jaxcnn.training.exact_statistics import make_statistics_step, with_exact_statistics
from jaxcnn.training.goodput import EarlierStarts, goodput
from jaxcnn.training.interruption import StopRequest
from jaxcnn.training.loop import Trainer
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.nonfinite import NonFiniteUpdates, state_is_finite
from jaxcnn.training.optimizers import averaging, l2_penalty, make_optimizer
from jaxcnn.training.processes import wait_for_all
from jaxcnn.training.records import Records, read_timings
from jaxcnn.training.schedules import make_schedule
from jaxcnn.training.steps import Augment, TrainState, make_eval_step, make_train_step
from jaxcnn.training.traffic import exchanged_bytes
from jaxcnn.training.train_config import epochs_after


def train(
    config: Experiment,
    workdir: Workdir,
    layout: Layout,
    model: nn.Module,
    make_initial: Callable[[], TrainState],
    data: Data,
    first_batch: Batch,
    statistics: Statistics | None,
    preprocessing: Preprocessing,
    stop: StopRequest,
    timeline: Timeline,
) -> dict[str, Any]:
    """Trains from the newest checkpoint, or from the start, and gives the result.

    Raises:
      Interrupted: the run was asked to stop; it goes on from a checkpoint.
    """
    primary = jax.process_index() == 0
    steps_per_epoch = data.train_batches.steps_per_epoch
    last = config.train.last_step(steps_per_epoch)
    augment_on = functools.partial(
        augment_by, preprocessing, config, statistics, num_classes=model.num_classes
    )
    augment = augment_on(axis_name=layout.axis_name)
    newest = Checkpoints(workdir.path / "checkpoints", keep=config.checkpoint.keep)
    best = Checkpoints(workdir.path / "best", keep=1)
    state = restored(layout.distribute(make_initial()), newest, best, layout, show=primary)
    step, evaluated = map(int, layout.fetch((state.step, state.evaluated)))
    if config.resume == "force":  # the best of another future; under the same values it comes again
        best.drop_after(step)
    # Ahead of the first step, where a request to stop ends the run at once.
    with timeline.doing(Activity.COMPILATION, "compilation"):
        train_step = compiled_step(
            config, model, augment, layout, steps_per_epoch, state, layout.place(first_batch)
        )
        is_finite = layout.compile(state_is_finite).lower(state).compile()
        evaluate_on = _evaluator(
            config, model, preprocessing, layout, stop, timeline, state, data.eval_batches.empty()
        )
        # The first sum over devices gives up where one process comes 30 s later than another.
        wait_for_all()
    if primary and config.parallel.model > 1:
        sent = sum(exchanged_bytes(train_step.as_text()).values())
        print(f"Each device sends {sent / 1e6:,.1f} MB a step.", flush=True)
    earlier = EarlierStarts()
    if primary:
        workdir.claim()
        _write_inputs(workdir.path, data, first_batch, statistics)
        earlier = EarlierStarts.of(read_timings(workdir.path / "timings.jsonl"))
    images = config.train.batch_size
    with (
        stop.remembering(),
        Records(
            workdir.path,
            step=step,
            evaluated=evaluated >= epochs_after(step, steps_per_epoch),
            enabled=primary,
        ) as records,
    ):
        with Progress(
            total=last * images,
            initial=step * images,
            per_epoch=steps_per_epoch * images,
            description="training",
            enabled=primary,
        ) as bar:
            state, sums = Trainer(
                layout=layout,
                train_step=train_step,
                evaluate=lambda state: evaluate_on(state, data.eval_batches),
                batches=lambda start, end: iterate(data.train_batches, start, end, config.data),
                steps_per_epoch=steps_per_epoch,
                config=config.train,
                schedule=config.schedule,
                penalty=layout.compile(
                    lambda state: l2_penalty(config.optimizer, state.variables()["params"])
                ),
                nonfinite=NonFiniteUpdates(
                    layout=layout,
                    is_finite=is_finite,
                    examples=data.train_batches.indices,
                    limit=config.train.max_nonfinite,
                    steps_per_epoch=steps_per_epoch,
                    before=layout.fetch(state.left_out),
                    records=records,
                    progress=bar,
                ),
                begin_epoch=curvature_measurer(
                    config, model, augment_on(axis_name=None), layout, data
                ),
                finalize=_finalizer(config, model, augment, layout, data, stop, timeline),
                checkpoint_every=config.checkpoint.every_steps,
                newest=newest,
                best=best,
                meta={
                    "config": commandline.to_dict(config),
                    "preprocessing": preprocessing.to_json(),
                    "class_names": list(data.train.class_names),
                    "versions": environment.versions(),
                },
                records=records,
                progress=bar,
                stop=stop,
                timeline=timeline,
                earlier=earlier,
            ).run(state)
        tested = None
        if (test := data.test_batches) is not None:
            tested = results.measured(evaluate_on(state, test), test.source, config.data.test_split)
        with timeline.doing(Activity.SAVING, "the pictures"):
            reached, variables = layout.fetch((state.step, state.variables()))
            if primary:
                found = first_filters(model, variables, preprocessing, config.data.image_size)
                show_training(records, config, int(reached), workdir.path / "batch.png", found)
        wait_for_all()  # while one still saves, none may end all at once
    timeline.turn_to(Activity.SAVING, "the result")
    step = int(reached)
    result = results.result(
        results.measured(sums, data.eval, config.data.eval_split),
        test=tested,
        epochs=epochs_after(step, steps_per_epoch),
        steps=step,
        best=_best(best, steps_per_epoch),
        devices=layout.devices,
    )
    newest.close()
    best.close()
    result["goodput"] = goodput(earlier, timeline.spent())
    return result


def compiled_step(
    config: Experiment,
    model: nn.Module,
    augment: Augment,
    layout: Layout,
    steps_per_epoch: int,
    *arguments: Any,
) -> Any:
    """The training step, compiled for a state and a batch such as these, or of such shapes."""
    step = make_train_step(
        model,
        make_optimizer(config.optimizer),
        make_schedule(
            config.schedule,
            config.optimizer.learning_rate,
            steps_per_epoch=steps_per_epoch,
            total_steps=config.train.last_step(steps_per_epoch),
        ),
        augment,
        seed=config.seed,
        steps_per_epoch=steps_per_epoch,
        log_every=config.train.log_every,
        loss=training_loss(config.train.loss, config.train.label_smoothing),
        plateau_factor=config.schedule.factor,
        average=averaging(config.optimizer, steps_per_epoch),
        auxiliary_weight=config.train.auxiliary_weight,
        freeze=config.optimizer.freeze,
        accumulate=config.train.accumulate,
        remat=config.train.remat,
        axis_name=layout.axis_name,
    )
    return layout.compile(step, donate=(0,)).lower(*arguments).compile()


def _evaluator(
    config: Experiment,
    model: nn.Module,
    preprocessing: Preprocessing,
    layout: Layout,
    stop: StopRequest,
    timeline: Timeline,
    state: TrainState,
    batch: Batch,
) -> Callable[[TrainState, EvalBatches], ClassSums]:
    """A function that gives the sums of a state over a split, compiled for such a one."""
    step = make_eval_step(
        model, preprocessing, loss=LOSSES[config.train.loss], axis_name=layout.axis_name
    )
    none = layout.replicate(ClassSums.zeros(model.num_classes))
    compiled = (
        layout.compile(step, donate=(1,))
        .lower(state.variables(), none, layout.place(batch))
        .compile()
    )

    def evaluate_on(state: TrainState, batches: EvalBatches) -> ClassSums:
        stream = iterate(batches, 0, len(batches), config.data)
        with (
            timeline.doing(Activity.EVALUATION, "the evaluation"),
            Progress(
                total=len(batches.source),
                description="evaluation",
                enabled=jax.process_index() == 0,
            ) as bar,
        ):
            return evaluate(
                state,
                compiled,
                timeline.reading(stream, Activity.EVALUATION, "evaluation batch"),
                layout=layout,
                num_classes=model.num_classes,
                stop=stop,
                progress=bar,
            )

    return evaluate_on


def _finalizer(
    config: Experiment,
    model: nn.Module,
    augment: Augment,
    layout: Layout,
    data: Data,
    stop: StopRequest,
    timeline: Timeline,
) -> Callable[[TrainState], TrainState] | None:
    """A function that gives a last state its exact statistics, where they are asked for."""
    count = config.train.exact_statistics
    if not count:
        return None
    freeze = config.optimizer.freeze
    step = layout.compile(make_statistics_step(model, augment, seed=config.seed, freeze=freeze))

    def finalize(state: TrainState) -> TrainState:
        first = int(layout.fetch(state.step))
        stream = iterate(data.train_batches, first, first + count, config.data)
        with Progress(
            total=count * config.train.batch_size,
            description="exact statistics",
            enabled=jax.process_index() == 0,
        ) as bar:
            return with_exact_statistics(
                state,
                step,
                timeline.reading(stream, Activity.DATA, "the batch of step", first + 1),
                layout=layout,
                stop=stop,
                progress=bar,
                freeze=freeze,
            )

    return finalize


def _best(best: Checkpoints, steps_per_epoch: int) -> dict[str, float] | None:
    """The metrics of the best evaluation, and the epoch after which it was."""
    if not best.steps():  # no evaluation gave a number
        return None
    step = best.steps()[-1]
    return {"epoch": epochs_after(step, steps_per_epoch), **best.meta(step)["evaluation"]}


def _write_inputs(
    path: Path, data: Data, first_batch: Batch, statistics: Statistics | None
) -> None:
    """What the network will see: the statistics of the data, and a picture of the first batch."""
    if statistics is not None:
        write_atomically(path / STATISTICS, json.dumps(statistics.to_json(), indent=2) + "\n")
    images, labels = first_batch["image"], first_batch["label"]
    draw_batch(images, labels, data.train.class_names, path / "batch.png")
