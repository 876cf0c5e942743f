"""How far a run is: a bar on a terminal, now and then a plain line elsewhere."""

import contextlib
import contextvars
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    import tqdm

_shown = contextvars.ContextVar("shown", default=True)


@contextlib.contextmanager
def without_progress() -> Iterator[None]:
    """Within it no bar is shown, and of the lines only the warnings."""
    before = _shown.set(False)
    try:
        yield
    finally:
        _shown.reset(before)


def progress_is_shown() -> bool:
    """Whether it is, for those who show it by other means."""
    return _shown.get()


class Progress:
    """Counts images, or others, towards a total, on stderr.

    It is told Python numbers and fetches nothing.

    Args:
      total: the images in all; None: not known.
      description: what is being done, such as ``'training'``.
      unit: what is counted, where that is not images.
      initial: the images done in an earlier part of the run.
      per_epoch: images in an epoch, to show the epoch; None shows none.
      enabled: False makes every method do nothing, for all processes but one.
      every: seconds between two plain lines.
      delay: seconds before a bar is shown, for what is often done at once.
      stream: where to write; None for stderr. A terminal gets a bar; a bar that is opened while
        another one is open stands below it, and is wiped out when it is closed.
    """

    def __init__(
        self,
        *,
        total: int | None,
        description: str,
        unit: str = "images",
        initial: int = 0,
        per_epoch: int | None = None,
        enabled: bool = True,
        every: float = 30.0,
        delay: float = 0.0,
        stream: TextIO | None = None,
    ) -> None:
        self._stream = stream or sys.stderr
        self._total, self._done, self._per_epoch = total, initial, per_epoch
        self._description, self._unit, self._every = description, unit, every
        self._enabled, self._shown = enabled, enabled and _shown.get()
        self._values: dict[str, float] = {}
        self._last_line = (time.monotonic(), initial)
        self._bar: tqdm.tqdm | None = None
        if self._shown and self._stream.isatty():
            from tqdm import tqdm as bar  # only where one is shown

            self._bar = bar(
                total=total,
                initial=initial,
                desc=description,
                unit=f" {unit}",
                unit_scale=True,
                file=self._stream,
                leave=None,
                delay=delay,
                dynamic_ncols=True,
                bar_format="{desc}: {n_fmt}, {rate_noinv_fmt}{postfix}"
                if total is None
                else "{desc}: {percentage:3.0f}%|{bar}| {rate_noinv_fmt}{postfix}, "
                "{remaining} left",
            )

    def advance(self, count: int) -> None:
        """Counts some more; what is beyond the total (padding) is not."""
        if not self._shown:
            return
        if self._total is not None:
            count = min(count, self._total - self._done)
        self._done += count
        if self._bar is not None:
            self._bar.set_postfix_str(self._details(), refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line[0] >= self._every:
            self._write_line()

    def reach(self, done: int) -> None:
        """Counts up to ``done``; what is counted already stays so."""
        self.advance(max(done - self._done, 0))

    def show(self, **values: float) -> None:
        """Sets values, such as the loss, that stand beside the count until they are set anew."""
        self._values |= values

    def note(self, line: str) -> None:
        """Writes a line that stays, above the bar."""
        if self._shown:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Writes a line that stays, also where no progress is shown."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        elif self._enabled:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _details(self) -> str:
        parts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in self._values.items()]
        if self._per_epoch:
            parts.insert(0, f"epoch {self._done / self._per_epoch:.1f}")
        return ", ".join(parts)

    def _write_line(self) -> None:
        now = time.monotonic()
        rate = (self._done - self._last_line[1]) / (now - self._last_line[0])
        self._last_line = (now, self._done)
        counted, left = f"{self._done:,} {self._unit}", ""
        if self._total is not None:
            counted = f"{self._done:,} of {self._total:,} {self._unit}"
            time_left = _interval((self._total - self._done) / rate) if rate else "?"
            left = f"{time_left} left"
        parts = [counted, f"{rate:,.4g} {self._unit}/s", self._details(), left]
        self.note(f"{self._description}: {', '.join(filter(None, parts))}")


def _interval(seconds: float) -> str:
    """As a bar has it: ``'01:05'``, or ``'1:01:05'`` from an hour on."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
