"""Signs of life, over a service that is a dict, and a clock that is set."""

import contextlib
import threading
import time

import jax
import pytest

from jaxcnn.training import heartbeats
from jaxcnn.training.activity import Activity, Timeline
from jaxcnn.training.heartbeats import Heartbeats


class Service:
    """What `jax.distributed`'s is asked for; it can die, or answer no more."""

    def __init__(self):
        self.values = {}
        self.dead = False
        self.hanging = threading.Event()
        self.hanging.set()

    def key_value_set(self, key, value, *, allow_overwrite):
        assert allow_overwrite
        self._answer()
        self.values[key] = value

    def key_value_dir_get(self, folder):
        self._answer()
        return [(k, v) for k, v in self.values.items() if k.startswith(f"{folder}/")]

    def _answer(self):
        self.hanging.wait()
        if self.dead:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(heartbeats, "_EVERY", 0.02)
    monkeypatch.setattr(heartbeats, "_LOOK", 0.02)
    found = Service()
    yield found
    found.dead = True
    found.hanging.set()


def process(service, number, lost, silence=0.5):
    timeline = Timeline()
    timeline.turn_to(Activity.STEPS, f"step {number}0")
    return Heartbeats(
        service, process=number, count=3, timeline=timeline, silence=silence, lost=lost.append
    )


@contextlib.contextmanager
def beating(processes):
    with contextlib.ExitStack() as stack:
        for each in processes:
            stack.enter_context(each.beating())
        yield


def wait_until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_while_all_are_there_nothing_happens(service):
    lost = []
    all_of_them = [process(service, number, lost) for number in range(3)]
    with beating(all_of_them):
        time.sleep(1)
        first = all_of_them[0]
        assert first.silent() == []
        for number in (1, 2):
            assert f"process {number} (host " in first.others()
            assert f"is at step {number}0" in first.others()
    assert lost == []


def test_one_that_is_silent_is_named_with_what_it_did(service):
    lost = []
    with beating([process(service, 0, lost), process(service, 1, [])]):
        with beating([process(service, 2, [])]):
            wait_until(lambda: len(service.values) == 3)
            time.sleep(0.1)
        wait_until(lambda: lost)
    assert [peer.number for peer in lost] == [2]
    assert lost[0].name.startswith("process 2 (host ")
    assert lost[0].doing == "step 20"


@pytest.mark.parametrize("harm", ["dead", "hanging"])
def test_where_the_service_is_silent_it_is_the_one_that_keeps_it(service, harm):
    lost = []
    with beating([process(service, n, lost if n == 2 else []) for n in range(3)]):
        wait_until(lambda: len(service.values) == 3)
        service.dead = harm == "dead"
        if harm == "hanging":
            service.hanging.clear()
        wait_until(lambda: lost)
    assert [peer.number for peer in lost] == [0]


def test_one_that_was_stopped_itself_gives_the_others_their_time(service, monkeypatch):
    """Its clock jumps by an hour; nobody is given up for that."""
    lost, real, ahead = [], time.monotonic, [0.0]
    monkeypatch.setattr(heartbeats.time, "monotonic", lambda: real() + ahead[0])
    first = process(service, 0, lost, silence=30)
    with beating([first, process(service, 1, []), process(service, 2, [])]):
        wait_until(lambda: len(service.values) == 3)
        ahead[0] = 3600.0
        real_end = real() + 1
        while real() < real_end:
            time.sleep(0.01)
        assert first.silent() == []
    assert lost == []
