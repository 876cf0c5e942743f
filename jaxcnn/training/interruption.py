"""Being asked to stop: Ctrl-C and SIGTERM are remembered, and training stops at the next step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):  # noqa: N818 - it is not an error: the run continues where it stopped
    """Training stopped because it was asked to, with its state in a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class StopRequest:
    """Whether this run was asked to stop; all its processes agree on the step at which they do."""

    def __init__(self) -> None:
        self._asked = False
        self._questions = 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._asked:  # asked twice: at once, without a checkpoint
            raise KeyboardInterrupt
        self._asked = True
        if jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)  # which jax.distributed catches

    def reached(self) -> bool:
        """True when it is time to stop; asked by every process equally often.

        Several processes agree by way of ``jax.distributed``, whose service catches SIGTERM on
        any one of them and names a question at which all are answered True.
        """
        if jax.process_count() == 1:
            return self._asked
        self._questions += 1
        return multihost_utils.reached_preemption_sync_point(self._questions)

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Listens to SIGINT and SIGTERM; what stood before is put back at the end."""
        # With several processes SIGTERM is caught by jax.distributed.
        several = jax.process_count() > 1
        numbers = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
        before = {number: signal.signal(number, self._remember) for number in numbers}
        try:
            yield self
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)
