"""The process that computes, as the command sees it: one at a time, stopped when time is up.

The command itself uses no device. A device then belongs to one process (a TPU allows no second
one), a crash ends one step only, and a step that hangs can be stopped.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from experiments.turns import Contestant, EndedError

_WORKER = "experiments.rigs.accelerator.worker"


@dataclasses.dataclass(frozen=True)
class Order:
    """One call in the process that computes.

    Attributes:
      function: ``MODULE.FUNCTION`` of this package; it returns a JSON-able dict.
      arguments: keyword arguments, JSON-able.
      mode: of the process: 'plain', 'deterministic' (`demand_determinism` before the devices
        start) or 'torch' (no JAX device is used, so that PyTorch has all memory).
      fresh: start a new process although one of this mode is running.
    """

    function: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mode: Literal["plain", "deterministic", "torch"] = "plain"
    fresh: bool = False


class OrderError(Exception):
    """The function raised; the text is the type and the message."""


class OutOfTimeError(Exception):
    """The process was stopped because its time was up."""


class Processes:
    """Carries out orders, in a process that is replaced when another mode is wanted.

    Args:
      cache: folder for compiled programs, so that a later process need not compile them again;
          in deterministic mode there is none.
      quickly: compile in little time, to programs that are slow.
    """

    def __init__(self, cache: Path, *, quickly: bool = False) -> None:
        self._environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
        if quickly:
            self._environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
        self._running = contextlib.ExitStack()
        self._mode: str | None = None

    def carry_out(self, order: Order, timeout: float) -> dict[str, Any]:
        """The result of an order.

        Args:
          order: what to call.
          timeout: seconds, the start of a process included.

        Raises:
          OrderError: the function raised.
          EndedError: the process ended without an answer.
          OutOfTimeError: it took longer than ``timeout``; the process was killed.
        """
        if order.fresh or order.mode != self._mode:
            self._start(order.mode)
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            call = {"function": order.function, "arguments": dict(order.arguments)}
            answer = self._worker.tell(call)
        except EndedError as error:
            self.close()
            if expired.is_set():
                raise OutOfTimeError from error
            raise
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
        if "error" in answer:
            raise OrderError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _start(self, mode: str) -> None:
        self.close()
        environment = dict(self._environment)
        if mode == "deterministic":  # a process that resumes makes its own choice of algorithms
            environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        elif mode == "torch":  # a network's operations are counted by JAX, without a device
            environment["JAX_PLATFORMS"] = "cpu"
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            self._process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", _WORKER, mode],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    text=True,
                )
            )
            stack.callback(self._process.kill)
            self._running = stack.pop_all()
        self._worker = Contestant(self._process, errors)
        self._mode = mode

    def close(self) -> None:
        """Ends the process, if there is one."""
        self._mode = None
        with contextlib.suppress(BrokenPipeError):  # an order that it did not take
            self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
