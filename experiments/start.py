"""What a training starts from: random parameters, an earlier run's, a file's, or its checkpoint."""

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.config import Experiment
from experiments.copies import at_hand
from experiments.images import Data
from experiments.network import given_fields, number_of_classes
from jaxcnn.data.statistics import Statistics
from jaxcnn.errors import UserError
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import Pretrained, load_pretrained
from jaxcnn.pretrained.class_names import same_classes
from jaxcnn.training.checkpoint_folder import damaged_in, steps_in
from jaxcnn.training.checkpoint_reading import read_variables
from jaxcnn.training.checkpoints import Checkpoints
from jaxcnn.training.devices import Layout
from jaxcnn.training.processes import from_first
from jaxcnn.training.records import read_metrics
from jaxcnn.training.steps import TrainState


def load_weights(config: Experiment, data: Data) -> Pretrained | None:
    """The network of ``model.weights`` for the classes and the channels of the data, or None.

    Its head is new, and may then be missing in the variables, unless it is one of as many classes
    whose names, where the file has any, are those of the data.

    Raises:
      UserError: the file is not one of such a network, or it is not known how its images, or those
        of a network without weights, are to be normalised.
    """
    if config.model.weights is None:
        if config.data.normalization is None:
            raise UserError(
                "data.normalization=None is that of a file of weights; give the file by "
                "--config.model.weights=FILE, or a normalisation."
            )
        return None
    class_names = data.train.class_names
    weights = load_pretrained(
        config.model.name,
        config.model.weights,
        num_classes=number_of_classes(config.model, len(class_names)),
        in_channels=data.image_shape[-1],
        seed=config.seed,
        **given_fields(config.model),
    )
    if weights.preprocessing is None and config.data.normalization is None:
        raise UserError(
            f"{config.model.weights} does not say how images were normalised for it; give "
            "data.normalization."
        )
    if weights.preprocessing is not None and config.data.normalization is not None:
        raise UserError(
            f"{config.model.weights} says how images were normalised for it, and "
            f"data.normalization={config.data.normalization} is another way; leave it to the file "
            "by --config.data.normalization=None."
        )
    if weights.class_names is None or same_classes(weights.class_names, class_names):
        return weights
    # As many classes, but others: what is left out here stays as `model.init` draws it.
    flat = flatten_dict(weights.variables)
    return dataclasses.replace(
        weights,
        variables=unflatten_dict({path: v for path, v in flat.items() if "logits" not in path}),
        class_names=None,
        notes=(*weights.notes, "a new head, as the classes of the file are others: logits"),
    )


def about_weights(config: Experiment, weights: Pretrained) -> str:
    """What becomes of the file of weights, in a line or two."""
    notes = "; ".join(weights.notes) or "all layers, the head too"
    lines = [f"Weights of {config.model.weights}: {notes}."]
    if (given := weights.preprocessing) is not None:
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (given.mean, given.std))
        image = " (that of each pixel for itself)" if given.mean_image is not None else ""
        lines.append(
            f"Images are normalised as for these weights: {given.channel_order}, mean {mean}"
            f"{image}, standard deviation {std}."
        )
    return "\n".join(lines)


def preprocessing_facts(weights: Pretrained | None) -> dict[str, Any]:
    """What must be the same of a file of weights when a run goes on, JSON-able."""
    if weights is None or weights.preprocessing is None:
        return {}
    return {"preprocessing": weights.preprocessing.to_json()}


def preprocessing_of(
    config: Experiment, data: Data, statistics: Statistics | None, weights: Pretrained | None
) -> Preprocessing:
    """The weights' normalisation, or else the one that ``data.normalization`` names."""
    if config.data.normalization is not None:
        return Preprocessing.named(config.data.normalization, data.image_shape[-1], statistics)
    # `load_weights` refuses all others.
    assert weights is not None
    assert weights.preprocessing is not None
    return weights.preprocessing


def trained_variables(
    config: Experiment, shapes: TrainState, weights: Pretrained | None
) -> Mapping[str, Any] | None:
    """The variables to start from, checked to fit; None for a start from random ones alone.

    Raises:
      UserError: an earlier run has none, or none that fit.
    """
    if weights is not None:
        return weights.variables
    if config.model.initialize_from is None:
        return None
    with at_hand(config.model.initialize_from) as workdir:
        source = read_variables(workdir)
    ours = {"params": shapes.params, "batch_stats": shapes.batch_stats}
    return _layers(ours, source, config.model.initialize_layers)


def _layers(ours: Mapping[str, Any], source: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    """The variables of ``source`` in the layers, of the first level, whose names match."""
    names = [layer for layer in ours["params"] if re.fullmatch(pattern, layer)]
    if not names:
        raise UserError(
            f"model.initialize_layers={pattern} names none of the layers "
            f"{', '.join(ours['params'])}."
        )
    taken: dict[str, Any] = {}
    for kind, layers in ours.items():
        for layer in names:
            if layer not in layers:
                continue
            here = jax.tree.map(jnp.shape, layers[layer])
            there = jax.tree.map(jnp.shape, source[kind].get(layer))
            if here != there:
                raise UserError(
                    f"layer {layer} is {here} here and {there} in model.initialize_from; choose "
                    "the layers that both have by model.initialize_layers."
                )
            taken.setdefault(kind, {})[layer] = source[kind][layer]
    return taken


def initial_state(make: Callable[[], TrainState], trained: Mapping[str, Any] | None) -> TrainState:
    """The state before the first step: random but for what is trained already."""
    state = jax.jit(make)()
    if trained is None:
        return state

    def started(ours: Any, kind: str) -> Any:
        return unflatten_dict({**flatten_dict(ours), **flatten_dict(trained.get(kind, {}))})

    params = started(state.params, "params")
    return dataclasses.replace(
        state,
        params=params,
        batch_stats=started(state.batch_stats, "batch_stats"),
        ema=None if state.ema is None else params,
    )


def restored(
    state: TrainState, newest: Checkpoints, best: Checkpoints, layout: Layout, *, show: bool
) -> TrainState:
    """The state of the newest whole checkpoint, on the devices there are now, or ``state``.

    Where none of the newest is left it is the best one's, which is as good, only older.

    Raises:
      UserError: the run had checkpoints and has none any more, or none of this version and network.
    """
    found = []
    for checkpoints in (newest, best):
        step, complaints = from_first(checkpoints.newest_sound)
        found.append((checkpoints, step, complaints))
        if show:
            for complaint in complaints:
                print(f"Warning: {complaint}", file=sys.stderr)
    source, step = next(((c, s) for c, s, _ in found if s is not None), (newest, None))
    if step is None:
        if from_first(lambda: _was_saved(newest.folder.parent)):
            raise UserError(
                f"the run in {newest.folder.parent} had checkpoints and no whole one is left; put "
                "one back, or start anew with --config.restart=True."
            )
        return state
    for checkpoints, sound, complaints in found:
        if complaints:
            checkpoints.set_aside_after(-1 if sound is None else sound)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), layout.to_mesh(state)
    )
    if show:
        print(f"Continuing from step {step}.", flush=True)
    on_mesh = source.restore(step, like)
    if source is best:  # it is the newest now
        newest.save(step, on_mesh, best.meta(step))
    return layout.from_mesh(on_mesh)


def _was_saved(workdir: Path) -> bool:
    """Whether a run that has no whole checkpoint had one."""
    for name in ("checkpoints", "best"):
        if steps_in(workdir / name) or damaged_in(workdir / name):
            return True
    records = workdir / "metrics.jsonl"
    if not records.exists():
        return False
    # The one of the first epoch is on disk before that of the second is begun.
    return sum(line["kind"] == "eval" for line in read_metrics(records)) > 2
