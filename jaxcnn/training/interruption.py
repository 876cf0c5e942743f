"""Being asked to stop, by Ctrl-C or SIGTERM.

While there is nothing to save, as in start-up and compilation, the run ends at once, whatever its
main thread is busy with. From the first step to the last save the request is remembered, and
training stops at the next step.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import jax
from jax.experimental import multihost_utils

from jaxcnn.training import ending

# Under this key the service of jax.distributed says that a process has caught a SIGTERM.
_NOTICE = "RECEIVED_PREEMPTION_NOTICE"


class Interrupted(Exception):  # noqa: N818 - it is not an error: the run continues where it stopped
    """Training stopped because it was asked to, with its state in a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


class StopRequest:
    """Whether this run was asked to stop; all its processes agree on the step at which they do.

    Args:
      leave: ends the process, and the others of its run, where there is nothing to save.
    """

    def __init__(self, leave: Callable[[], object] = lambda: ending.leave(ending.AGAIN)) -> None:
        self._leave = leave
        self._asked = False
        self._unsaved = False
        self._questions = 0

    def reached(self) -> bool:
        """True when it is time to stop; asked by every process equally often.

        Several processes agree by way of ``jax.distributed``, whose service catches SIGTERM on
        any one of them and names a question at which all are answered True.
        """
        if not jax.distributed.is_initialized():
            return self._asked
        self._questions += 1
        return multihost_utils.reached_preemption_sync_point(self._questions)

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Listens to SIGINT and SIGTERM; what stood before is put back at the end.

        Once several processes are joined, SIGTERM is caught by ``jax.distributed``; each of them
        then starts its ``listener``.
        """
        before = {
            number: signal.signal(number, self._remember)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        # The system writes to it whatever the main thread does; Python calls handlers only there.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        woken_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(reader,), name="stop", daemon=True).start()
        try:
            yield self
        finally:
            signal.set_wakeup_fd(woken_before)
            os.close(writer)  # which ends the thread
            for number, previous in before.items():
                signal.signal(number, previous)

    def listener(self) -> threading.Thread:
        """What hears of it when any process of the run is asked to stop, until they part."""
        return threading.Thread(target=self._wait_for_notice, name="stop", daemon=True)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within it there is something to save, and ``reached`` is asked."""
        self._unsaved = True
        if self._asked:
            self._leave()
        try:
            yield
        finally:
            self._unsaved = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, as soon as that is in Python."""
        del frame
        if self._asked and number == signal.SIGINT:  # asked twice: at once, without a checkpoint
            raise KeyboardInterrupt
        self._asked = True
        if jax.distributed.is_initialized():
            signal.raise_signal(signal.SIGTERM)  # which jax.distributed catches

    def _wait(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] in (signal.SIGINT, signal.SIGTERM) and not self._unsaved:
                    self._leave()

    def _wait_for_notice(self) -> None:
        try:
            ending.service().blocking_key_value_get(_NOTICE, ending.FOREVER)
        except (jax.errors.JaxRuntimeError, AttributeError):  # the run is over
            return
        if not self._unsaved:
            self._leave()
