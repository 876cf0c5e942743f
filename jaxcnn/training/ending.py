"""How a process ends before its run does, and how the other processes of the run end with it.

An error of one ends all, for the others would wait for it in vain. They hear of it through the
service of `jax.distributed`, whatever their main threads may wait for.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import orbax.checkpoint as ocp

from jaxcnn.errors import UserError

MISTAKE, AGAIN, INTERRUPTED = 2, 75, 130  # exit statuses; a bug has 1
FOREVER = 2**31 - 1  # milliseconds; a process that never comes is found out by its silence

_KEY = "jaxcnn/ending"
_HEARD = 10  # seconds that the others have to hear of it
joined = threading.Event()  # set while there are others, who can be told
_ending = threading.Lock()  # of this process; whoever takes it keeps it
_abort_handler: Any = None


def service() -> Any:
    """What the processes of a run talk through; there is one between joining and parting only."""
    return ocp.multihost.get_jax_distributed_client()


def leave(status: int, text: str = "", *, told: str = "") -> NoReturn:
    """Ends this process at once, from any thread, and all other ones of its run.

    Args:
      status: the exit status of all.
      text: goes to stderr here.
      told: goes to stderr on the others.
    """
    if not _ending.acquire(blocking=False):
        time.sleep(FOREVER)  # another thread ends the process
    if joined.is_set():
        _tell(status, told, await_others=False)
        time.sleep(1)  # for the others: the service that they hear it from may be kept here
    end(status, text)


def end_by(error: BaseException, process: int, gone: Callable[[], str]) -> NoReturn:
    """Ends all processes of a run by an error of this one.

    Each prints the sentence of a `UserError`, and all have its exit status, as with one process.

    Args:
      error: what was raised here.
      process: this process's number.
      gone: says which processes are gone, where some do not answer.
    """
    if not _ending.acquire(blocking=False):
        time.sleep(FOREVER)
    if isinstance(error, UserError):
        status, text = MISTAKE, f"process {process}: {' '.join(str(error).splitlines())}"
        told = text
    elif isinstance(error, KeyboardInterrupt):
        status, text, told = INTERRUPTED, "", ""
    else:
        status, text = 1, "".join(traceback.format_exception(error))
        told = f"process {process} failed ({type(error).__name__}); what it printed says why."
        if _waited_in_vain(error):
            status = AGAIN
            told = (
                f"process {process} waited in vain for another one; start the same command again."
            )
    _tell(status, told, await_others=True)
    if (not _all_heard() and status == 1) or status == AGAIN:
        status, symptom = AGAIN, " ".join(traceback.format_exception_only(error)).splitlines()[0]
        text = f"{gone()} ({symptom}); start the same command again."
    end(status, text, last=process == 0)


def _waited_in_vain(error: BaseException) -> bool:
    """Whether what all take part in gave up, and not this process's own part of it."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "DEADLINE_EXCEEDED" in str(error)


def end_with_others(process: int) -> None:
    """Waits until another process ends the run, whatever this one's main thread may wait for."""
    try:
        status, told, await_others = json.loads(service().blocking_key_value_get(_KEY, FOREVER))
    except (jax.errors.JaxRuntimeError, AttributeError):  # the run is over
        return
    if _ending.acquire(blocking=False):
        if await_others:
            _all_heard()
        end(status, told, last=process == 0)


def speak_last(words: Callable[[], str]) -> None:
    """Has the last word where `jax.distributed` aborts this process, as when process 0 is gone.

    It does so from a thread of its own within a moment, which nothing in Python sees in time: not
    even a handler of SIGABRT, which would run in the main thread. This one is called by the C
    library, in the thread that aborts. The exit status is then that of a run to start again.

    Args:
      words: the sentence that goes to stderr.
    """

    def handle(number: int) -> None:
        del number
        if _ending.acquire(blocking=False):
            end(AGAIN, words())
        time.sleep(FOREVER)

    global _abort_handler  # the C library keeps its address alone
    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _abort_handler)


def _tell(status: int, told: str, *, await_others: bool) -> None:
    """Says that the run ends; that another one has said so first does not matter."""
    value = json.dumps([status, told, await_others])
    _answered(lambda: service().key_value_set(_KEY, value))


def _all_heard() -> bool:
    """Waits until every process knows of the error; False when one does not answer."""
    return _answered(lambda: service().wait_at_barrier(_KEY, 1000 * _HEARD))


def _answered(ask: Callable[[], object]) -> bool:
    """Whether the service answers as it should; where its process hangs it never does."""
    answers: list[object] = []

    def wait() -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            answers.append(ask())

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(_HEARD + 2)
    return bool(answers)


def end(status: int, text: str, last: bool = False) -> NoReturn:
    """Ends the process at once: what it does in the background may wait for the others.

    Args:
      status: the exit status.
      text: goes to stderr.
      last: whether to leave the others a moment, for the one that keeps the service.
    """
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
    if text:
        # From a new line, where a progress bar may stand.
        print("\n" * sys.stderr.isatty() + text.rstrip(), file=sys.stderr, flush=True)
    if last:
        time.sleep(1)
    os._exit(status)
