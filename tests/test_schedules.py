"""The learning rate over the steps, and the monitors of the validation metric."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.training.schedules import (
    Monitor,
    ScheduleConfig,
    make_schedule,
    observe,
    reduce_on_plateau,
)


def rates(config, steps=(0, 5, 10, 19, 20, 39), peak=0.1):
    schedule = make_schedule(config, peak, steps_per_epoch=10, total_steps=40)
    return [float(schedule(jnp.int32(step))) for step in steps]


def test_constant():
    np.testing.assert_allclose(rates(ScheduleConfig()), [0.1] * 6)


def test_steps():
    config = ScheduleConfig(kind="step", step_epochs=2, factor=0.5)
    np.testing.assert_allclose(rates(config), [0.1] * 4 + [0.05] * 2)


def test_steps_count_from_the_start_also_after_a_warm_up():
    config = ScheduleConfig(kind="step", step_epochs=2, factor=0.5, warmup_epochs=1)
    np.testing.assert_allclose(rates(config), [0, 0.05, 0.1, 0.1, 0.05, 0.05])


def test_cosine_with_a_warm_up():
    config = ScheduleConfig(kind="cosine", warmup_epochs=1)
    expected = [0, 0.05, *(0.05 * (1 + np.cos(np.pi * (s - 10) / 30)) for s in (10, 19, 20, 39))]
    np.testing.assert_allclose(rates(config), expected, rtol=1e-5)


def test_steps_at_milestones():
    config = ScheduleConfig(kind="step", milestones=(5, 20), factor=0.5)
    np.testing.assert_allclose(
        rates(config, (0, 4, 5, 19, 20, 39)), [0.1] * 2 + [0.05] * 2 + [0.025] * 2
    )


def test_a_warm_up_at_a_constant_rate():
    """ResNet-110's: a tenth of the rate, then the rate."""
    config = ScheduleConfig(kind="step", milestones=(20,), warmup_epochs=0.5, warmup_factor=0.1)
    np.testing.assert_allclose(rates(config, (0, 4, 5, 19, 20)), [0.01, 0.01, 0.1, 0.1, 0.01])
    cosine = ScheduleConfig(kind="cosine", warmup_epochs=1, warmup_factor=0.1)
    np.testing.assert_allclose(rates(cosine, (0, 9, 10, 25)), [0.01, 0.01, 0.1, 0.05], rtol=1e-5)


def test_a_table():
    config = ScheduleConfig(kind="table", table=("0=5e-4", "1=2e-4", "2.5=1e-5"))
    expected = [5e-4, 5e-4, 2e-4, 2e-4, 1e-5, 1e-5]
    np.testing.assert_allclose(rates(config, (0, 9, 10, 24, 25, 39)), expected)
    rising = ScheduleConfig(kind="table", table=("0=5e-4", "1=2e-4"), warmup_epochs=0.5)
    np.testing.assert_allclose(rates(rising, (0, 2, 5, 10)), [0, 2e-4, 5e-4, 2e-4])


@pytest.mark.parametrize("table", ["1=1", "0=1,0=2", "0=1,2=1,1=1", "0", "0=x", "0=0", "0=1=2"])
def test_a_table_that_is_none_is_one_sentence(table):
    entries = tuple(table.split(","))
    with pytest.raises(UserError, match=f"schedule.table holds '{entries[-1]}'"):
        ScheduleConfig(kind="table", table=entries).check()


def watch(values, config):
    monitor, reductions = Monitor.fresh(), []
    for value in values:
        monitor = reduce_on_plateau(monitor, value, config)
        reductions.append(int(monitor.reductions))
    return reductions


def test_a_plateau_reduces_after_patience_evaluations():
    config = ScheduleConfig(kind="plateau", patience=2)
    assert watch([1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8], config) == [0, 0, 0, 1, 1, 2, 2]


def test_reductions_are_at_most_as_many_as_asked_for():
    config = ScheduleConfig(kind="plateau", patience=1, max_reductions=3)
    assert watch([1.0] * 6, config) == [0, 1, 2, 3, 3, 3]


def test_an_improvement_must_exceed_min_delta():
    config = ScheduleConfig(kind="plateau", patience=1, min_delta=0.1)
    assert watch([1.0, 0.95, 0.85], config) == [0, 1, 1]


def test_a_value_that_is_not_a_number_is_no_improvement():
    monitor = observe(observe(Monitor.fresh(), 1.0), float("nan"))
    assert (float(monitor.best), int(monitor.stale)) == (1.0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"factor": 1.0},
        {"patience": 0},
        {"step_epochs": 0},
        {"warmup_epochs": -1},
        {"warmup_factor": 0.0},
        {"warmup_factor": 1.5},
        {"milestones": (2, 1)},
        {"milestones": (0, 1)},
        {"kind": "table"},
        {"early_stopping": 0},
    ],
)
def test_what_cannot_work_is_one_sentence(wrong):
    with pytest.raises(UserError, match=f"schedule.{next(iter(wrong))}"):
        ScheduleConfig(**wrong).check()
