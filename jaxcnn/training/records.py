"""What a run writes down: deterministic metrics, times apart from them, and the result.

``metrics.jsonl`` is a pure function of the run: a run that was killed and continued leaves the same
bytes as one that was not. Times go to ``timings.jsonl``. The TensorBoard events show the metrics.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing

# What every line says, and of what types.
_METRICS = {"kind": str, "step": int, "epoch": int | float}
_TIMINGS = {"step": int}


class Records:
    """The records of one run, open for adding; only one process writes any.

    Opening cuts ``metrics.jsonl`` back to the step that the run continues from: later lines go,
    and so does a last line that a killed process left half written.

    Args:
      workdir: the folder of the run.
      step: the step restored from a checkpoint, 0 for a new run.
      evaluated: whether the end of the epoch at ``step`` (its summary and its evaluation) is part
        of the restored state; if not, it is gone through again, and its lines are cut too.
      enabled: False makes every method do nothing.

    Raises:
      UserError: a file cannot be written (every method), or ``metrics.jsonl`` is damaged.
    """

    def __init__(
        self, workdir: Path, *, step: int, evaluated: bool = False, enabled: bool = True
    ) -> None:
        self._enabled = enabled
        if not enabled:
            return

        def stands(line: Mapping[str, Any]) -> bool:
            of_step = line["kind"] in ("train", "nonfinite")
            return line["step"] < step or (line["step"] == step > 0 and (evaluated or of_step))

        with writing(workdir):
            (workdir / "tensorboard").mkdir(parents=True, exist_ok=True)
        self._metrics = _Growing(_cut(workdir / "metrics.jsonl", _METRICS, stands))
        self._timings = _Growing(_cut(workdir / "timings.jsonl", _TIMINGS, lambda line: True))
        # TensorBoard reads its files by name: this is the last, though the clock was set back.
        earlier = (p.name.split(".")[3] for p in workdir.glob("tensorboard/events.out.tfevents.*"))
        now = max([int(time.time()), *(int(stamp) + 1 for stamp in earlier if stamp.isdecimal())])
        events = f"events.out.tfevents.{now}.{socket.gethostname()}.{os.getpid()}"
        self._events = _Growing(workdir / "tensorboard" / events)
        self._events.append(_framed(Event(wall_time=time.time(), file_version="brain.Event:2")))
        # TensorBoard forgets what earlier files hold from this step on.
        start = SessionLog(status=SessionLog.START)
        self._events.append(_framed(Event(step=step + 1, session_log=start)))

    def metrics(
        self, kind: str, step: int, epoch: float, values: Mapping[str, float | Sequence[int]]
    ) -> None:
        """Adds a line of what is the same in every run of this configuration.

        Args:
          kind: ``'train'``, ``'nonfinite'`` (an update that was left out), ``'epoch'`` or
            ``'eval'``; the first part of TensorBoard's tags.
          step: the steps done.
          epoch: the same in epochs.
          values: by name; Python numbers, not arrays that still have to be computed, or lists of
            whole numbers, which TensorBoard does not show.
        """
        if self._enabled:
            self._metrics.append(_line({**values, "kind": kind, "step": step, "epoch": epoch}))
            scalars = Summary(
                value=[
                    Summary.Value(tag=f"{kind}/{name}", simple_value=float(value))
                    for name, value in values.items()
                    if not isinstance(value, Sequence)
                ]
            )
            self._events.append(_framed(Event(step=step, wall_time=time.time(), summary=scalars)))

    def timings(self, step: int, **values: float | Mapping[str, float]) -> None:
        """Adds a line of what differs from run to run, in seconds or per second."""
        if self._enabled:
            self._timings.append(_line({**values, "step": step, "time": time.time()}))

    def sync(self) -> None:
        """Returns when the metrics are on the disk itself."""
        if self._enabled:
            self._metrics.sync()

    def close(self) -> None:
        """Makes the files last, and closes them."""
        if self._enabled:
            self._enabled = False
            for file in (self._metrics, self._timings, self._events):
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, without a last one that is half written.

    Raises:
      UserError: there is no such file, or a line of it is damaged.
    """
    return _read(path, _METRICS)


def read_timings(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``timings.jsonl``, likewise; none where there is no such file."""
    return _read(path, _TIMINGS) if path.exists() else []


def _read(path: Path, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        return [line for _, line in _whole_lines(path, fields)]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def write_result(workdir: Path, result: Mapping[str, Any]) -> None:
    """Writes ``result.json``, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    write_atomically(workdir / "result.json", json.dumps(result, indent=2) + "\n")


def _line(values: Mapping[str, Any]) -> bytes:
    """A line of JSON: keys in order, floats to their last bit, NaN and Infinity as such."""
    return json.dumps(values, sort_keys=True, default=float).encode() + b"\n"


def _whole_lines(path: Path, fields: Mapping[str, Any]) -> list[tuple[bytes, dict[str, Any]]]:
    """Each line's bytes and meaning; what follows the last newline was being written."""
    *whole, _ = path.read_bytes().split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            meaning = json.loads(line)
            if not all(isinstance(meaning[name], type_) for name, type_ in fields.items()):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UserError(
                f"{path}, line {number} is damaged; remove that line, or rename the file."
            ) from None
        lines.append((line + b"\n", meaning))
    return lines


def _cut(
    path: Path, fields: Mapping[str, Any], stands: Callable[[Mapping[str, Any]], bool]
) -> Path:
    """Leaves of a file, if it is there, the whole lines that stand; gives its path."""
    with writing(path):
        if path.exists():
            whole = _whole_lines(path, fields)
            kept = b"".join(line for line, meaning in whole if stands(meaning))
            if len(kept) < path.stat().st_size:
                write_atomically(path, kept)
    return path


def _framed(event: Event) -> bytes:
    """An event as a TFRecord: length, its checksum, the data, their checksum.

    tensorboardX's own writer is a thread that loses its queue in a kill and hangs on a full disk.
    """
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


class _Growing:
    """A file that grows by whole pieces, each handed to the system in one write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def append(self, piece: bytes) -> None:
        with writing(self._path):
            while piece:  # a disk that fills up takes a part, and refuses at the next call
                piece = piece[self._file.write(piece) :]

    def sync(self) -> None:
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with self._file:
            self.sync()
