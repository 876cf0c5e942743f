"""The bar on a terminal, and the lines elsewhere."""

import io
import re

import pytest

from jaxcnn import progress
from jaxcnn.progress import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on, in seconds."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_lines_where_there_is_no_terminal(clock):
    stream = io.StringIO()
    with Progress(
        total=9000, description="training", initial=1000, per_epoch=2000, every=30, stream=stream
    ) as bar:
        for second in range(61):
            clock[0] = second
            bar.advance(50)
            bar.show(loss=1 / (1 + second))
        bar.note("epoch 1: done")
    assert stream.getvalue().splitlines() == [
        "training: 2,550 of 9,000 images, 51.67 images/s, epoch 1.3, loss 0.03333, 02:04 left",
        "training: 4,050 of 9,000 images, 50 images/s, epoch 2.0, loss 0.01667, 01:39 left",
        "epoch 1: done",
    ]


def test_lines_of_what_has_no_known_end(clock):
    stream = io.StringIO()
    with Progress(total=None, description="looking", every=1, stream=stream) as bar:
        clock[0] = 2
        bar.advance(50)
    assert stream.getvalue() == "looking: 50 images, 25 images/s\n"
    terminal = Terminal()
    with Progress(total=None, description="looking", stream=terminal) as bar:
        bar.advance(7)
    assert "looking: 7" in terminal.getvalue()


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Progress(total=100, description="training", per_epoch=50, stream=stream) as bar:
        bar.show(loss=0.25, learning_rate=0.01)
        with Progress(total=10, description="evaluation", stream=stream) as inner:
            inner.advance(10)
        bar.note("a note")
        bar.advance(100)
    frames = stream.getvalue().split("\r")
    assert any(frame.startswith("evaluation:") for frame in frames)
    assert "a note\n" in frames
    assert re.search(
        r"^training: 100%\|.*\| .* images/s, epoch 2\.0, loss 0\.25, learning rate 0\.01, 00:00",
        frames[-1],
    )


def test_padding_is_not_counted(clock):
    stream = io.StringIO()
    bar = Progress(total=10, description="evaluation", every=0, stream=stream)
    for clock[0] in (1, 2, 3):
        bar.advance(4)
    assert stream.getvalue().splitlines()[-1].startswith("evaluation: 10 of 10 images")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_other_processes_show_nothing(stream):
    with Progress(total=10, description="x", every=0, stream=stream, enabled=False) as bar:
        bar.show(loss=1.0)
        bar.advance(10)
        bar.note("x")
    assert stream.getvalue() == ""
