"""Being asked to stop: at once where there is nothing to save, whatever the main thread does."""

import hashlib
import os
import signal
import threading
import time

import pytest

from jaxcnn.training.interruption import StopRequest


@pytest.fixture
def stop():
    """A request whose end of the process is an event."""
    left = threading.Event()
    found = StopRequest(left.set)
    found.left = left
    return found


def from_another_thread(number, after=0.1):
    threading.Timer(after, os.kill, (os.getpid(), number)).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_save_even_a_long_call_into_c_is_left(stop, number):
    """As compilation is one: Python's own handlers run only after it."""
    in_time = []

    def leave():
        in_time.append(not back.is_set())
        stop.left.set()

    back = threading.Event()
    stop._leave = leave
    with stop.listening():
        from_another_thread(number)
        while not stop.left.is_set() and not back.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000)
            back.set()
        assert stop.left.wait(10)
    assert in_time == [True]


def test_from_the_first_step_on_it_is_remembered(stop):
    with stop.listening(), stop.remembering():
        assert not stop.reached()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reached()
        os.kill(os.getpid(), signal.SIGTERM)  # some schedulers ask twice
        time.sleep(0.1)
        assert not stop.left.is_set()


def test_asked_just_before_the_first_step(stop):
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.remembering():
            assert stop.left.wait(10)


def test_a_second_ctrl_c_is_obeyed_at_once(stop):
    with stop.listening(), stop.remembering():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_all_is_as_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with StopRequest(lambda: None).listening():
            pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    woken = signal.set_wakeup_fd(-1)
    assert woken == -1
    end = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > descriptors:
        assert time.monotonic() < end
        time.sleep(0.01)
    while any(thread.name == "stop" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)
