"""What a run writes down: deterministic metrics, times apart from them, and the result.

``metrics.jsonl`` is a pure function of the run: a run that was killed and continued leaves the same
bytes as one that was not. Times go to ``timings.jsonl``. The TensorBoard events show the metrics.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing
from jaxcnn.training.growing_file import GrowingFile

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
            workdir.mkdir(parents=True, exist_ok=True)
        self._metrics = GrowingFile(_cut(workdir / "metrics.jsonl", _METRICS, stands))
        self._timings = GrowingFile(_cut(workdir / "timings.jsonl", _TIMINGS, lambda line: True))
        from jaxcnn.training.events import Events  # tensorboardX is needed by no reader of them

        self._events = Events(workdir, after=step)

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
            scalars = {
                f"{kind}/{name}": value
                for name, value in values.items()
                if not isinstance(value, Sequence)
            }
            self._events.scalars(step, scalars)

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Shows a picture in TensorBoard, which is part of no other record."""
        if self._enabled:
            self._events.picture(name, step, png)

    def hyper_parameters(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Shows a configuration beside some metrics in TensorBoard: `Events.hyper_parameters`."""
        if self._enabled:
            self._events.hyper_parameters(values, metrics)

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
