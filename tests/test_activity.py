"""Where time goes: activities within activities, over several starts."""

import contextlib
import subprocess
import sys
import time

import pytest

from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.goodput import EarlierStarts, goodput, goodput_text


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timeline(clock):
    """Five seconds of start-up, then steps of 2 s, in which a save of 3 s takes place."""
    found = Timeline(began=95.0, clock=clock)
    found.turn_to(Activity.STEPS, "step 1")
    clock.pass_by(1)
    with found.doing(Activity.SAVING, "the checkpoint of step 1"):
        clock.pass_by(3)
        assert found.present == (Activity.SAVING, "the checkpoint of step 1", 101)
    clock.pass_by(1)
    return found


def test_each_second_belongs_to_one_activity(timeline, clock):
    spent = timeline.spent()
    assert spent == dict.fromkeys(map(str, Activity), 0.0) | {
        "start_up": 5,
        "steps": 2,
        "saving": 3,
    }
    assert sum(spent.values()) == clock.now - 95
    assert timeline.present == (Activity.STEPS, "step 1", 104)  # since it went on


def test_an_activity_ends_with_an_error(timeline, clock):
    def fails():
        with timeline.doing(Activity.EVALUATION, "the evaluation"):
            clock.pass_by(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert timeline.present.activity == Activity.STEPS
    assert timeline.spent()["evaluation"] == 1


def test_the_wait_for_each_batch_counts_and_its_use_does_not(timeline, clock):
    def slow():
        for number in range(3):
            assert timeline.present.detail == f"the batch of step {7 + number}"
            clock.pass_by(10)
            yield number

    with timeline.reading(
        contextlib.nullcontext(slow()), Activity.DATA, "the batch of step", 7
    ) as stream:
        for _ in stream:
            clock.pass_by(100)
    assert timeline.spent()["data"] == 30
    assert timeline.spent()["steps"] == 2 + 300


def test_a_process_began_before_it_looks():
    code = "from jaxcnn.training.activity import process_began; print(process_began())"
    before = time.monotonic()
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    began = float(child.stdout)
    assert before - 0.02 <= began
    assert began < time.monotonic() - 0.1  # it has imported jax since


def test_goodput_over_several_starts(timeline):
    """The last line of each start has its sums; the first two did four steps in 14 s."""
    lines = [
        {"step": 2, "start": 0, "spent": {"start_up": 4.0, "steps": 1.0}},
        {"step": 4, "start": 0, "spent": {"start_up": 4.0, "steps": 2.0}},
        {"step": 3, "start": 1, "spent": {"start_up": 4.0, "repeated_steps": 2.0}},
    ]
    earlier = EarlierStarts.of(lines)
    assert (earlier.count, earlier.furthest) == (2, 4)
    found = goodput(earlier, timeline.spent())
    assert found["starts"] == 3
    assert sum(found["seconds"].values()) == 6 + 6 + 10
    assert found["share"] == (2 + 2) / 22
    assert goodput_text(found) == (
        "Goodput: 18.2% of 22.0 s in useful steps; start-up 13.0 s, compilation 0.0 s, waiting for "
        "data 0.0 s, evaluation 0.0 s, saving 3.0 s, steps done again 2.0 s; over 3 starts."
    )


def test_the_first_start_has_none_before_it(timeline):
    assert goodput(EarlierStarts.of([]), timeline.spent())["share"] == 0.2
    assert "starts" not in goodput_text(goodput(EarlierStarts(), timeline.spent()))
