"""What a run writes: the same metrics after any interruption, and files whole or not at all."""

import errno
import json
import math
import os
import resource
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically
from jaxcnn.training.records import Records, read_metrics, write_result

LAST, EPOCH = 12, 4


def train(records: Records, start: int, stop: int, *, evaluated: bool) -> None:
    """Writes what steps ``start + 1`` to ``stop`` write, and first what ends the epoch before."""

    def finish_epoch(step: int) -> None:
        records.metrics("epoch", step, step / EPOCH, {"loss": 1 / (step + 1), "accuracy": 0.5})
        records.metrics("eval", step, step / EPOCH, {"loss": math.pi / step, "top5": 1.0})

    if start and start % EPOCH == 0 and not evaluated:
        finish_epoch(start)
    for step in range(start + 1, stop + 1):
        if step % 3 == 0:
            of_step = {"loss": math.inf, "examples": [step, 2 * step]}
            records.metrics("nonfinite", step, step / EPOCH, of_step)
        if step % 2 == 0:
            records.metrics("train", step, step / EPOCH, {"loss": 0.1 * step, "accuracy": 0.1})
        records.timings(step, images_per_second=1000 / step)
        if step % EPOCH == 0:
            finish_epoch(step)


def whole(tmp_path) -> bytes:
    workdir = tmp_path / "whole"
    with Records(workdir, step=0) as records:
        train(records, 0, LAST, evaluated=False)
    return (workdir / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("killed", range(LAST + 1))
def test_metrics_of_a_resumed_run_are_those_of_a_whole_one(killed, evaluated, tmp_path):
    expected = whole(tmp_path)
    for restored in range(killed + 1):
        workdir = tmp_path / f"from{restored}"
        killed_run = Records(workdir, step=0)
        train(killed_run, 0, killed, evaluated=False)
        with (workdir / "metrics.jsonl").open("ab") as file:
            file.write(b'{"kind": "train", "st')
        with Records(workdir, step=restored, evaluated=evaluated) as records:
            train(records, restored, LAST, evaluated=evaluated)
        killed_run.close()
        assert (workdir / "metrics.jsonl").read_bytes() == expected, restored


def test_a_line_cut_anywhere_is_dropped(tmp_path):
    expected = whole(tmp_path)
    workdir = tmp_path / "cut"
    lines = expected.splitlines(keepends=True)
    for length in range(0, len(lines[-1]), 9):
        workdir.mkdir(exist_ok=True)
        (workdir / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:length])
        assert len(read_metrics(workdir / "metrics.jsonl")) == len(lines) - 1
        Records(workdir, step=LAST, evaluated=True).close()
        assert (workdir / "metrics.jsonl").read_bytes() == b"".join(lines[:-1])


def test_a_new_run_starts_empty_and_a_line_is_on_disk_at_once(tmp_path):
    whole(tmp_path)
    metrics = tmp_path / "whole" / "metrics.jsonl"
    with Records(tmp_path / "whole", step=0, evaluated=True) as records:
        assert metrics.read_bytes() == b""
        records.metrics("train", 3, 0.5, {"loss": 0.1 + 0.2, "accuracy": 1})
        assert metrics.read_text() == (
            '{"accuracy": 1, "epoch": 0.5, "kind": "train", "loss": 0.30000000000000004, '
            '"step": 3}\n'
        )


def test_numbers_are_exact_and_what_is_none_is_kept(tmp_path):
    values = {"a": 1e-320, "b": math.nan, "c": -math.inf, "d": 2**53 + 1, "e": 0.1}
    with Records(tmp_path, step=0) as records:
        records.metrics("train", 1, 1 / 3, values)
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(line.pop("b"))
    del values["b"]
    assert line == {**values, "kind": "train", "step": 1, "epoch": 1 / 3}


def test_times_are_kept_over_a_restart_and_apart(tmp_path):
    with Records(tmp_path, step=0) as records:
        train(records, 0, 6, evaluated=False)
    with (tmp_path / "timings.jsonl").open("ab") as file:
        file.write(b'{"half')
    with Records(tmp_path, step=4, evaluated=True) as records:
        train(records, 4, 6, evaluated=True)
    lines = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 5, 6]
    assert lines[0]["images_per_second"] == 1000
    assert "time" in lines[0]
    assert "time" not in (tmp_path / "metrics.jsonl").read_text()


def events(workdir) -> list[Event]:
    """All events of all files, in the order in which TensorBoard reads them."""
    found = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12]) == (masked_crc32c(data[:8]),)
            body = data[12 : 12 + length]
            checksum = data[12 + length : 16 + length]
            assert struct.unpack("<I", checksum) == (masked_crc32c(body),)
            found.append(Event.FromString(body))
            data = data[16 + length :]
    return found


def test_tensorboard_shows_each_step_once(tmp_path):
    with Records(tmp_path, step=0) as records:
        train(records, 0, 10, evaluated=False)
    with Records(tmp_path, step=4, evaluated=True) as records:
        train(records, 4, LAST, evaluated=True)
    shown = []
    assert events(tmp_path)[0].file_version == "brain.Event:2"
    for event in events(tmp_path):
        if event.session_log.status == SessionLog.START:
            shown = [point for point in shown if point[0] < event.step]
        shown += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    expected = [
        (line["step"], f"{line['kind']}/{name}", pytest.approx(value))
        for line in read_metrics(tmp_path / "metrics.jsonl")
        for name, value in line.items()
        if name not in ("kind", "step", "epoch", "examples")
    ]
    assert sorted(shown) == sorted(expected, key=lambda point: point[:2])


def test_other_processes_write_nothing(tmp_path):
    with Records(tmp_path / "run", step=0, enabled=False) as records:
        train(records, 0, LAST, evaluated=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_line_is_named(tmp_path):
    whole = '{"epoch": 0.5, "kind": "train", "step": 1}'
    another_type = whole.replace("1}", '"1"}')
    for damaged in ("{", "3", '{"kind": "train"}', "\0\0", "[" * 100_000, another_type):
        (tmp_path / "metrics.jsonl").write_text(f"{whole}\n{damaged}\n")
        for reading in (
            lambda: read_metrics(tmp_path / "metrics.jsonl"),
            lambda: Records(tmp_path, step=1),
        ):
            with pytest.raises(UserError, match=r"metrics\.jsonl, line 2 is damaged; remove"):
                reading()


def test_metrics_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be read \(No such file"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_work_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run cannot be written \(Not a directory\)"):
        Records(tmp_path / "file" / "run", step=0)


def test_a_disk_that_fills_up(tmp_path):
    """The system takes a part of the line and then refuses, as it does at a full disk or quota."""
    records = Records(tmp_path, step=0)
    records.metrics("train", 1, 0.1, {"loss": 1.0})
    before = (tmp_path / "metrics.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written \(File too large\)"):
            records.metrics("train", 2, 0.2, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    records.close()
    assert len((tmp_path / "metrics.jsonl").read_bytes()) == len(before) + 10
    Records(tmp_path, step=1).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_write_that_fails_leaves_the_old_file(code, tmp_path, monkeypatch):
    write_result(tmp_path, {"accuracy": 0.5})

    def refuse(file):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(UserError) as error:
            write_result(tmp_path, {"accuracy": 0.9})
    assert str(error.value) == (
        f"{tmp_path / 'result.json'} cannot be written ({os.strerror(code)}); "
        "mend that, or write to another folder."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "result.json").read_text()) == {"accuracy": 0.5}


def test_a_file_is_replaced_whole(tmp_path):
    write_atomically(tmp_path / "x", b"old and long")
    write_atomically(tmp_path / "x", "new ü")
    assert (tmp_path / "x").read_bytes() == "new ü".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_file_without_a_name_is_refused(path):
    with pytest.raises(UserError, match="names no file or folder"):
        write_atomically(Path(path), "text")
