"""What hangs ends, and says what it was waiting for."""

import threading
import time

from jaxcnn.training.activity import Activity, Present, Timeline
from jaxcnn.training.watchdog import exceeded, watched


def kept(timeline, limit, seconds, activity):
    """What the watchdog said of an activity of so many seconds."""
    said, ended = [], threading.Event()

    def end(why):
        said.append(why)
        ended.set()

    with watched(timeline, limit, end, every=0.01), timeline.doing(activity, "step 12"):
        ended.wait(seconds)
    return said


def test_what_takes_too_long_is_named_and_every_stack_shown(capfd):
    def the_thread_that_waits():
        stop.wait()

    stop = threading.Event()
    thread = threading.Thread(target=the_thread_that_waits)
    thread.start()
    try:
        said = kept(Timeline(), 0.1, 30, Activity.STEPS)
    finally:
        stop.set()
        thread.join()
    assert said == ["step 12 has not come to an end within 0.1 s"]
    errors = capfd.readouterr().err
    assert "step 12 takes too long" in errors
    assert "the_thread_that_waits" in errors
    assert "in kept" in errors


def test_what_comes_to_an_end_in_time_is_left_alone():
    timeline = Timeline()
    for _ in range(5):
        assert kept(timeline, 0.2, 0.1, Activity.STEPS) == []


def test_start_up_and_compilation_may_last():
    for activity in (Activity.START_UP, Activity.COMPILATION):
        assert kept(Timeline(), 0.05, 0.2, activity) == []
    assert kept(Timeline(), None, 0.1, Activity.STEPS) == []


def test_the_time_that_a_process_was_stopped_does_not_count():
    now = time.monotonic()
    present = Present(Activity.DATA, "the batch of step 3", now - 1000)
    assert exceeded(present, 600, since=present.since, now=now)
    assert not exceeded(present, 600, since=now - 599, now=now)
