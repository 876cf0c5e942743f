"""A training whose loss stays that of guessing is called out, and one that learns is not."""

import json
import math

import numpy as np
import pytest

from experiments.run import main
from experiments.vgg_imagenet import RECIPE
from jaxcnn.losses import cross_entropy, smoothed
from jaxcnn.training.guessing import asked_after, loss_of_guessing, stuck
from jaxcnn.training.schedules import ScheduleConfig
from jaxcnn.training.train_config import TrainConfig

TEN = np.full(10, 36)


@pytest.mark.parametrize("counts", [TEN, np.array([5, 0, 90, 5])], ids=["even", "uneven"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_guessing_costs_what_a_loss_says_of_the_frequencies(counts, smoothing):
    labels = np.repeat(np.arange(len(counts)), counts)
    targets = smoothed(labels, len(counts), smoothing) if smoothing else labels
    shares = (1 - smoothing) * counts / counts.sum() + smoothing / len(counts)
    logits = np.log(np.maximum(shares, 1e-30)) * np.ones((len(labels), 1))
    cost = float(np.mean(cross_entropy(logits, targets)))
    if counts is TEN:
        assert loss_of_guessing(counts) == pytest.approx(math.log(10))
    if counts is TEN or not smoothing:
        assert loss_of_guessing(counts) == pytest.approx(cost, rel=1e-5)
    else:
        assert loss_of_guessing(counts) < cost


@pytest.mark.parametrize(
    ("steps_per_epoch", "warmup", "epoch"),
    [(5004, 0, 2), (5004, 5, 7), (22, 0.5, 10), (100, 0, 2), (99, 0, 3), (102, 0.1, 3)],
)
def test_it_is_asked_once_there_were_enough_steps(steps_per_epoch, warmup, epoch):
    assert asked_after(steps_per_epoch, warmup) == epoch
    schedule = ScheduleConfig(warmup_epochs=warmup)
    about = {"steps_per_epoch": steps_per_epoch, "config": TrainConfig(), "schedule": schedule}
    said = [stuck(2.31, TEN, e, **about) is not None for e in range(1, 30)]
    assert said == [e == epoch for e in range(1, 30)]
    assert stuck(2.31, TEN, epoch - 0.5, **about) is None


@pytest.mark.parametrize(
    ("loss", "kind", "said"),
    [
        (2.305, "cross_entropy", True),
        (2.285, "cross_entropy", True),
        (2.270, "cross_entropy", False),
        (2.400, "cross_entropy", False),
        (math.nan, "cross_entropy", False),
        (2.305, "map", False),
    ],
)
def test_it_is_said_of_a_loss_near_that_of_guessing(loss, kind, said):
    config = TrainConfig(loss=kind)
    about = {"steps_per_epoch": 200, "config": config, "schedule": ScheduleConfig()}
    sentence = stuck(loss, TEN, 2, **about)
    assert (sentence is not None) == said
    if said:
        assert f"epoch 2: the training loss of {loss:.3f} is still that of" in sentence
        assert "10 classes (2.303)" in sentence
    # Images of few of the network's classes.
    assert stuck(loss, np.array([36, 0, 36, 0]), 2, **about) is None


@pytest.mark.parametrize(
    ("initialization", "said"),
    [("glorot", 1), pytest.param("he", 0, marks=pytest.mark.full)],
)
def test_a_deep_vgg_without_batch_norm(initialization, said, tmp_path, capfd):
    """Column E as Glorot and Bengio begin it stays where it is; as He et al. do, it learns."""
    arguments = [
        "--config=e_digits",
        "--config.model.width=2",
        "--config.model.hidden=4",
        f"--config.model.initialization={initialization}",
        "--config.optimizer.name=momentum",
        "--config.optimizer.learning_rate=0.01",
        "--config.train.batch_size=14",
        "--config.train.epochs=2",
        "--config.schedule.warmup_epochs=0",
        "--config.parallel.devices=1",
        f"--config.workdir={tmp_path / 'run'}",
    ]
    assert main(RECIPE, arguments) == 0
    assert capfd.readouterr().err.count("is still that of guessing among 10 classes") == said
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "epoch"]
    assert (losses[-1] > 0.99 * math.log(10)) == bool(said)
