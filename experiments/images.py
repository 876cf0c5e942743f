"""From the configuration to the batches of a run, and to what the device makes of them."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from experiments.config import Experiment
from jaxcnn.colors import ColorShift, Photometric
from jaxcnn.data.pipeline import EvalBatches, TrainBatches
from jaxcnn.data.resized_form import original_name
from jaxcnn.data.sources import Source, open_source
from jaxcnn.data.statistics import IMAGENET_STATISTICS, Statistics, compute_statistics
from jaxcnn.errors import UserError
from jaxcnn.files import read_object
from jaxcnn.mixing import Mixing
from jaxcnn.preprocessing import FIXED, Preprocessing
from jaxcnn.randomness import Purpose, device_key, example_keys
from jaxcnn.training.devices import Layout
from jaxcnn.training.steps import Augment
from jaxcnn.training.steps import Batch as DeviceBatch

STATISTICS = "statistics.json"


@dataclasses.dataclass(frozen=True)
class Data:
    """The splits of a run, and this process's batches of them; those of the test, if it has one."""

    train: Source
    train_batches: TrainBatches
    eval: Source
    eval_batches: EvalBatches
    test_batches: EvalBatches | None
    image_shape: tuple[int, int, int]

    def facts(self) -> dict[str, Any]:
        """What must be the same when a run goes on, as a JSON-able dict."""
        facts = {
            "train_examples": len(self.train),
            "eval_examples": len(self.eval),
            "class_names": list(self.train.class_names),
        }
        if self.test_batches is not None:
            facts["test_examples"] = len(self.test_batches.source)
        return facts


def open_data(config: Experiment, layout: Layout) -> Data:
    """The splits and this process's batches of them.

    Raises:
      UserError: they are not to be had, or do not fit the batch size or the devices.
    """
    parts, batch = layout.batch_parts, config.train.batch_size
    if batch % parts:
        raise UserError(
            f"train.batch_size={batch} cannot be divided over {parts} devices; give a multiple "
            f"of {parts}, such as {batch + -batch % parts}, or fewer devices by parallel.devices."
        )
    own, micro_batches = batch // parts, config.train.accumulate
    if own % micro_batches:
        raise UserError(
            f"train.accumulate={micro_batches} does not divide the {own} examples that each of "
            f"{parts} devices has of train.batch_size={batch}; give a divisor, or a batch size "
            f"that is a multiple of {parts * micro_batches}."
        )
    train, held_out, *test = (
        open_source(config.data.source, split, data_dir=config.data.data_dir)
        for split in (config.data.train_split, config.data.eval_split, config.data.test_split)
        if split is not None
    )
    measured_on = config.optimizer.curvature_examples
    if config.optimizer.name == "levenberg_marquardt" and measured_on > len(train):
        raise UserError(
            f"optimizer.curvature_examples={measured_on} are more than the {len(train)} training "
            "images; give at most that many."
        )
    share, shares = layout.share
    views: dict[str, Any] = {
        "config": config.data,
        "augment": config.augment,
        "process_index": share,
        "process_count": shares,
    }
    # Rounded up, so that the devices can share it; padding is not counted.
    evaluated_at_once = config.eval.batch_size + -config.eval.batch_size % parts
    size = config.data.image_size
    return Data(
        train=train,
        train_batches=TrainBatches(train, batch_size=batch, seed=config.seed, **views),
        eval=held_out,
        eval_batches=EvalBatches(held_out, batch_size=evaluated_at_once, **views),
        test_batches=EvalBatches(test[0], batch_size=evaluated_at_once, **views) if test else None,
        image_shape=(size, size, config.data.channels or train.channels),
    )


def statistics_of(
    source: Source, config: Experiment, workdir: Path, *, show: bool
) -> Statistics | None:
    """The training split's statistics, where the configuration asks for any.

    Args:
      source: the training split.
      config: the run's configuration.
      workdir: the run's folder: a run that goes on takes those that it began with.
      show: show a bar.

    Raises:
      UserError: an image, or what the run began with, cannot be read.
    """
    if config.data.normalization in (None, *FIXED) and not config.augment.color_shift:
        return None
    goes_on = config.resume == "exact" and not config.restart
    if goes_on and (workdir / STATISTICS).exists():
        try:
            return Statistics.from_json(read_object(workdir / STATISTICS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{workdir / STATISTICS} cannot be read ({error}); start anew with "
                "--config.restart=True."
            ) from error
    mean_image = config.data.normalization == "pixel_mean"
    if (
        original_name(source.name) == "imagenet2012"
        and (config.data.channels or source.channels) == 3
        and not mean_image  # which is not among the published numbers
    ):
        return IMAGENET_STATISTICS
    return compute_statistics(
        source, config=config.data, augment=config.augment, mean_image=mean_image, progress=show
    )


def augment_by(
    preprocessing: Preprocessing,
    config: Experiment,
    statistics: Statistics | None,
    *,
    num_classes: int,
    axis_name: str | None,
) -> Augment:
    """What is left of augmentation for the device, and normalisation.

    Args:
      preprocessing: the normalisation.
      config: the run's configuration.
      statistics: of the training split, where the configuration asks for any.
      num_classes: of the labels, which mixed images share.
      axis_name: the axis of pmap; None under jit.
    """
    changes = config.augment
    shift = photometric = mixing = None
    if statistics is not None and changes.color_shift:
        shift = ColorShift(changes.color_shift, statistics.eigenvalues, statistics.eigenvectors)
    if changes.photometric:
        photometric = Photometric(changes.photometric)
    if changes.mixup or changes.cutmix:
        mixing = Mixing(changes.mixup, changes.cutmix, num_classes, axis_name)

    def augment(batch: DeviceBatch, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, labels, indices = batch["image"], batch["label"], batch["index"]

        def keys(purpose: Purpose) -> jax.Array:
            return example_keys(device_key(config.seed, purpose, step), indices)

        if photometric is not None:
            images = photometric(images, keys(Purpose.PHOTOMETRIC))
        if shift is not None:
            images = shift(images, keys(Purpose.COLOR_SHIFT))
        images = preprocessing(images)
        if mixing is None:
            return images, labels
        key = device_key(config.seed, Purpose.MIXING, step)
        return mixing(images, labels, weights=batch["weight"], indices=indices, key=key)

    return augment
