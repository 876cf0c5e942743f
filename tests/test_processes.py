"""One command on one device, on eight and in several processes: the same training, and one end."""

import re
import signal
import socket
import time

import cv2
import numpy as np
import pytest
from command_run import (
    assert_same_run,
    finish,
    metrics,
    steps,
    wait_for_records,
)

from experiments.faults.small_run import free_port, start, start_several

# At a low rate, for a training where rounding, another one on every layout, does not grow.
SHORT = (
    "--config.train.batch_size=256",  # 5 steps an epoch
    "--config.train.epochs=2",
    "--config.train.log_every=1",
    "--config.optimizer.learning_rate=1e-4",
    "--config.checkpoint.every_steps=None",
)
# Every layer split over two devices, in one process or two.
HALVES = ("--config.parallel.model=2", "--config.parallel.split=.*")
# The fully connected ones, over two or four.
HEAD_IN_2, HEAD_IN_4 = (("--config.parallel.model=2",), ("--config.parallel.model=4",))


def own_lines(output):
    """What we print, without what the library of the CPU's collectives does.

    It writes a line piece by piece, from several threads: a number can be left on its own line.
    """
    return [
        line
        for line in output.splitlines()
        if "Gloo" not in line and "peer ranks" not in line and not line.strip().isdecimal()
    ]


def finish_all(processes, status=0):
    """What process 0 printed, and what all did on stderr; process 1 repeats none of it."""
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), ended
    for output, _ in ended[1:]:
        assert own_lines(output) == []
    return ended[0][0], [errors for _, errors in ended]


def assert_same_training(workdir, reference, rtol):
    """The same records but for rounding, and for a few answers that it tips."""
    ours, expected = metrics(workdir), metrics(reference)
    assert [line["step"] for line in ours] == [line["step"] for line in expected]
    for line, right in zip(ours, expected, strict=True):
        assert line.keys() == right.keys()
        assert line["kind"] == right["kind"]
        np.testing.assert_allclose(line["loss"], right["loss"], rtol=rtol)
        assert line.get("learning_rate") == right.get("learning_rate")
        assert abs(line["accuracy"] - right["accuracy"]) < 0.01


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The run of two processes of one device each; what it printed stands beside it."""
    workdir = tmp_path_factory.mktemp("runs") / "two"
    output, errors = finish_all(start_several(workdir, *SHORT))
    (workdir.parent / "output").write_text(output)
    for text, words in zip(errors, (["epoch 1", "epoch 2"], []), strict=True):
        lines = [line for line in text.splitlines() if not line.startswith("training: ")]
        assert [line.partition(":")[0] for line in lines] == words
    return workdir


def test_two_processes_are_one_run(two):
    output = (two.parent / "output").read_text()
    assert "on cpu (2 devices, 2 processes)" in output.splitlines()[0]
    assert output.count("Result:") == 1
    assert "on the 359 images of digits test" in output
    records = metrics(two)
    assert [line["step"] for line in records if line["kind"] == "train"] == list(range(1, 11))
    assert [line["step"] for line in records if line["kind"] == "eval"] == [5, 10]
    assert len(list((two / "tensorboard").iterdir())) == 1
    assert not list(two.glob(".*"))


@pytest.mark.full
def test_a_finished_run_prints_its_result_once(two):
    before = {path: path.stat().st_mtime_ns for path in two.rglob("*")}
    output, errors = finish_all(start_several(two, *SHORT))
    assert output.count("This run is finished.") == 1
    assert errors == ["", ""]
    assert {path: path.stat().st_mtime_ns for path in two.rglob("*")} == before


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process on one device."""
    workdir = tmp_path_factory.mktemp("runs") / "one"
    finish(start(workdir, *SHORT))
    return workdir


@pytest.mark.full
@pytest.mark.parametrize(
    "parallel", [("--config.parallel=jit",), ("--config.parallel=pmap",), HALVES, HEAD_IN_2]
)
@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (1, 8), (2, 1), (2, 4)])
def test_the_same_command_is_the_same_training(processes, devices, parallel, one, tmp_path):
    if "--config.parallel.model=2" in parallel and processes * devices == 1:
        parallel = parallel[1:]
    workdir, arguments = tmp_path / "run", (*SHORT, *parallel)
    if processes == 1:
        output = finish(start(workdir, *arguments, devices=devices))
    else:
        output, _ = finish_all(start_several(workdir, *arguments, devices=devices))
    total = processes * devices
    words = f"{total} device{'s' * (total > 1)}, {processes} process{'es' * (processes > 1)}"
    assert f"on cpu ({words})" in output.splitlines()[0]
    assert_same_training(workdir, one, rtol=1e-4)


@pytest.mark.full
def test_some_of_the_devices(one, tmp_path):
    output = finish(start(tmp_path / "run", *SHORT, "--config.parallel.devices=2", devices=8))
    assert "on cpu (2 devices, 1 process)" in output.splitlines()[0]
    assert_same_training(tmp_path / "run", one, rtol=1e-4)


@pytest.mark.parametrize(
    ("number", "which"),
    [
        (signal.SIGTERM, [1]),
        pytest.param(signal.SIGTERM, [0], marks=pytest.mark.full),
        pytest.param(signal.SIGINT, [0, 1], marks=pytest.mark.full),
    ],
)
def test_one_is_asked_to_stop_and_all_do(number, which, two, tmp_path):
    workdir = tmp_path / "run"
    processes = start_several(workdir, *SHORT)
    wait_for_records(workdir, processes)
    for process in which:
        processes[process].send_signal(number)
    output, errors = finish_all(processes, status=75)
    assert f"Stopped at step {steps(workdir)[-1]}; the same command" in output
    assert "Traceback" not in "".join(errors)
    output, _ = finish_all(start_several(workdir, *SHORT))
    assert "Continuing from step" in output
    assert_same_run(workdir, two)


@pytest.mark.full
def test_all_are_killed(two, tmp_path):
    workdir = tmp_path / "run"
    arguments = [a for a in SHORT if "every_steps" not in a] + ["--config.checkpoint.every_steps=2"]
    for lines in (1, 5, 9):
        processes = start_several(workdir, *arguments)
        wait_for_records(workdir, processes, lines)
        for process in processes:
            process.kill()
        finish_all(processes, status=-signal.SIGKILL)
    output, _ = finish_all(start_several(workdir, *arguments))
    assert "Continuing from step" in output
    assert_same_run(workdir, two)


@pytest.mark.full
def test_one_is_slow_and_the_other_waits(one, tmp_path):
    """As while one still compiles: longer than the 30 s that the CPU's collectives wait."""
    workdir = tmp_path / "run"
    processes = start_several(workdir, *SHORT, "--config.parallel.silence=120", devices=4)
    wait_for_records(workdir, processes)
    processes[1].send_signal(signal.SIGSTOP)
    time.sleep(40)
    processes[1].send_signal(signal.SIGCONT)
    finish_all(processes)
    assert_same_training(workdir, one, rtol=1e-4)


@pytest.mark.parametrize(
    ("number", "which", "again"),
    [
        (signal.SIGSTOP, 1, False),
        pytest.param(signal.SIGSTOP, 0, True, marks=pytest.mark.full),
        pytest.param(signal.SIGKILL, 1, True, marks=pytest.mark.full),
        pytest.param(signal.SIGKILL, 0, True, marks=pytest.mark.full),
    ],
)
def test_one_hangs_or_dies_and_the_other_names_it(number, which, again, two, tmp_path):
    workdir, silence = tmp_path / "run", "--config.parallel.silence=10"
    processes = start_several(workdir, *SHORT, silence)
    wait_for_records(workdir, processes)
    processes[which].send_signal(number)
    struck = time.monotonic()
    other = processes[1 - which]
    _, errors = other.communicate(timeout=150)
    assert time.monotonic() - struck < 60
    assert other.returncode == 75, errors
    name = rf"process {which} \(host {socket.gethostname()}, process id {processes[which].pid}\)"
    assert re.search(name, errors), errors
    assert "start the same command again" in errors
    assert "Traceback" not in errors
    processes[which].send_signal(signal.SIGCONT)
    processes[which].communicate(timeout=150)
    assert processes[which].returncode == (75 if number == signal.SIGSTOP else -signal.SIGKILL)
    if again:
        finish_all(start_several(workdir, *SHORT))
        assert_same_run(workdir, two)


@pytest.mark.full
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 1), (1, 8)),
        ((1, 8), (1, 1)),
        ((1, 1), (2, 1)),
        ((1, 2, *HALVES), (1, 1)),
        ((1, 1), (1, 8, *HALVES)),
        ((2, 1, *HALVES), (2, 1)),
        ((1, 8, *HEAD_IN_4), (2, 1, *HEAD_IN_2)),
        ((2, 2, *HEAD_IN_4), (1, 1)),
    ],
)
def test_a_run_goes_on_over_other_devices(before, after, one, tmp_path):
    workdir = tmp_path / "run"

    def command(processes, devices, *arguments):
        if processes == 1:
            return [start(workdir, *SHORT, *arguments, devices=devices)]
        return start_several(workdir, *SHORT, *arguments, devices=devices)

    processes = command(*before)
    wait_for_records(workdir, processes, lines=3)
    processes[0].terminate()
    finish_all(processes, status=75)
    stopped = steps(workdir)[-1]
    assert stopped < 10
    output, _ = finish_all(command(*after))
    assert f"Continuing from step {stopped}." in output
    assert_same_training(workdir, one, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "own", "words"),
    [
        ((), ("--config.seed=1",), r"process 1: .* values than process 0 \(seed: 0 -> 1\)"),
        pytest.param(
            ("--config.train.batch_size=127",),
            (),
            "train.batch_size=127 cannot be divided over 2 devices",
            marks=pytest.mark.full,
        ),
        pytest.param(
            (),
            ("--config.data.data_dir=/nowhere",),
            "process 1: .*/nowhere",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_mistake_ends_every_process(arguments, own, words, tmp_path):
    """Whether all make it, or one alone, for which the others would wait."""
    _, errors = finish_all(start_several(tmp_path / "run", *arguments, own=own), status=2)
    for text in errors:
        assert re.search(words, text)
        assert len(text.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_a_mistake_met_on_the_way_ends_every_process(tmp_path):
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            folder = tmp_path / "pictures" / split / kind
            folder.mkdir(parents=True)
            for number in range(40):
                pixels = np.full((40, 40, 3), number, np.uint8)
                cv2.imwrite(str(folder / f"{number}.png"), pixels)
    (tmp_path / "pictures" / "train" / "dog" / "7.png").write_text("<html>")
    processes = start_several(
        tmp_path / "run",
        f"--config.data.source={tmp_path / 'pictures'}",
        "--config.data.normalization=half",
        "--config.train.batch_size=8",
    )
    _, errors = finish_all(processes, status=2)
    for text in errors:
        assert "dog/7.png" in text.splitlines()[-1]
        assert "Traceback" not in text


def test_the_others_do_not_come(tmp_path):
    processes = [
        start(
            tmp_path / "run",
            f"--config.parallel.coordinator=127.0.0.1:{free_port()}",
            "--config.parallel.processes=2",
            f"--config.parallel.process={number}",
            "--config.parallel.timeout=1",
        )
        for number in range(2)
    ]
    _, errors = finish_all(processes, status=2)
    for text in errors:
        assert re.fullmatch(r"the processes of this run did not all meet at .* 1 s; .*\n", text)
    assert not (tmp_path / "run").exists()


def test_an_address_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(
            tmp_path / "run",
            f"--config.parallel.coordinator=127.0.0.1:{taken.getsockname()[1]}",
            "--config.parallel.processes=2",
            "--config.parallel.process=0",
        )
        _, (errors,) = finish_all([process], status=2)
    assert "process 0 cannot listen at 127.0.0.1:" in errors
