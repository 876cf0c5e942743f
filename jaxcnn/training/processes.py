"""Several processes as one run: they join, one decides for all, and they end together.

They talk through the service of `jax.distributed` that process 0 keeps, not through their devices:
that takes no device work, and reaches a process whose devices wait for another one in vain.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import orbax.checkpoint as ocp

from jaxcnn.errors import UserError
from jaxcnn.training.devices import ParallelConfig

T = TypeVar("T")

_MISTAKE, _AGAIN, _INTERRUPTED = 2, 75, 130  # exit statuses; a bug has 1
_FOREVER = 2**31 - 1  # milliseconds; a process that never comes is found out by its silence
# By themselves the CPU's collectives fail when one process compiles 30 s longer than another.
_PATIENCE = "--xla_cpu_collective_timeout_seconds"
_FAILED = "jaxcnn/failed"
_MESSAGE = 1 << 20  # bytes that the service takes at once; it refuses more than 4 MB
_meetings = itertools.count()


@contextlib.contextmanager
def joined(config: ParallelConfig) -> Iterator[None]:
    """Joins the processes of a run, and parts them in order; does nothing for a single one.

    An error within it ends them all, for the others would wait for this one in vain: each prints
    the sentence of a `UserError`, and all have its exit status, as with one process. When one is
    gone without a word (killed, out of memory), those whose devices notice exit with 75; where
    they do not, `jax.distributed` aborts them after a silence of 100 s.

    Raises:
      UserError: the others could not be found or reached.
    """
    if config.coordinator is None and not config.detect:
        yield
        return
    _connect(config)
    process = jax.process_index()
    ending = threading.Lock()  # of this process; whoever takes it keeps it
    threading.Thread(target=_end_with_others, args=(process, ending), daemon=True).start()
    try:
        yield
    except BaseException as error:
        ending.acquire()
        _end_all(process, error)
    jax.distributed.shutdown()


def from_first(decide: Callable[[], T]) -> T:
    """What process 0 finds or decides, on every process, so that they never disagree.

    Args:
      decide: called on process 0 only; with several processes its result goes through JSON.
    """
    if jax.process_count() == 1:
        return decide()
    key, service = f"jaxcnn/decision/{next(_meetings)}", _service()
    if jax.process_index() == 0:
        service.key_value_set(key, json.dumps(decide()))
    return json.loads(service.blocking_key_value_get(key, _FOREVER))


def to_first(data: bytes) -> list[bytes]:
    """What every process gives, in the order of their numbers, on process 0; nothing on others."""
    count, process = jax.process_count(), jax.process_index()
    if count == 1:
        return [data]
    meeting, service = f"jaxcnn/gathering/{next(_meetings)}", _service()
    parts = [data[at : at + _MESSAGE] for at in range(0, len(data), _MESSAGE)]
    for number, part in enumerate(parts):
        service.key_value_set_bytes(f"{meeting}/{process}/{number}", part)
    service.key_value_set(f"{meeting}/{process}", str(len(parts)))
    if process != 0:
        return []

    def of(sender: int) -> bytes:
        # Its number of parts is set after they are.
        number = int(service.blocking_key_value_get(f"{meeting}/{sender}", _FOREVER))
        keys = [f"{meeting}/{sender}/{part}" for part in range(number)]
        return b"".join(service.blocking_key_value_get_bytes(key, _FOREVER) for key in keys)

    return [of(sender) for sender in range(count)]


def wait_for_all() -> None:
    """Returns when every process has come here: what each checked before has passed on all."""
    if jax.process_count() > 1:
        _service().wait_at_barrier(f"jaxcnn/meeting/{next(_meetings)}", _FOREVER)


def _service() -> Any:
    return ocp.multihost.get_jax_distributed_client()


def _connect(config: ParallelConfig) -> None:
    """Joins the processes, within the time for it."""
    place = config.coordinator or "the launcher's address"
    if config.coordinator is not None and config.process == 0:
        # The service would end the process by a segmentation fault, or join another run's.
        port = int(config.coordinator.rpartition(":")[2])
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise UserError(
                f"process 0 cannot listen at {place} ({why}); give another port by "
                "parallel.coordinator."
            ) from error
    # jax would abort the process; this is earlier.
    late = (
        f"the processes of this run did not all meet at {place} within {config.timeout} s; start "
        "them all, process 0 on the machine of that address and each with a number of its own, or "
        "make parallel.timeout longer."
    )
    timer = threading.Timer(config.timeout, _end, (_MISTAKE, late))
    timer.daemon = True
    timer.start()
    if _PATIENCE not in (flags := os.environ.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = f"{flags} {_PATIENCE}={_FOREVER // 1000}".strip()
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process,
            initialization_timeout=config.timeout + 60,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes of this run could not be joined ({str(error).splitlines()[0]}); "
            "check parallel.coordinator, or the launcher that parallel.detect relies on."
        ) from error
    finally:
        timer.cancel()


def _end_all(process: int, error: BaseException) -> NoReturn:
    """Tells the others of this process's error, and ends it."""
    if isinstance(error, UserError):
        status, text = _MISTAKE, f"process {process}: {' '.join(str(error).splitlines())}"
        told = text
    elif isinstance(error, KeyboardInterrupt):
        status, text, told = _INTERRUPTED, "", ""
    else:
        status, text = 1, "".join(traceback.format_exception(error))
        told = f"process {process} failed ({type(error).__name__}); what it printed says why."
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # another one was first
        _service().key_value_set(_FAILED, json.dumps([status, told]))
    if not _all_heard() and status == 1:
        status, symptom = _AGAIN, " ".join(traceback.format_exception_only(error)).splitlines()[0]
        text = (
            f"process {process}: another process of this run is gone ({symptom}); start the same "
            "command again."
        )
    _end(status, text, last=process == 0)


def _end_with_others(process: int, ending: threading.Lock) -> None:
    """Waits for another process's error, whatever this one's main thread may wait for."""
    try:
        status, told = json.loads(_service().blocking_key_value_get(_FAILED, _FOREVER))
    except jax.errors.JaxRuntimeError:  # the run is over
        return
    if ending.acquire(blocking=False):
        _all_heard()
        _end(status, told, last=process == 0)


def _all_heard() -> bool:
    """Waits until every process knows of the error; False when one does not answer."""
    try:
        _service().wait_at_barrier(_FAILED, 10_000)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _end(status: int, text: str, last: bool = False) -> NoReturn:
    """Ends the process at once: what it does in the background may wait for the others.

    Args:
      status: the exit status.
      text: goes to stderr.
      last: whether to leave the others a moment, for the one that keeps the service.
    """
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    if text:
        # From a new line, where a progress bar may stand.
        print("\n" * sys.stderr.isatty() + text.rstrip(), file=sys.stderr, flush=True)
    if last:
        time.sleep(1)
    os._exit(status)
