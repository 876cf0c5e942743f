"""Several processes as one run: they join, one decides for all, and they end together.

They talk through the service of `jax.distributed` that process 0 keeps, not through their devices:
that takes no device work, and reaches a process whose devices wait for another one in vain.
"""

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax

from jaxcnn.errors import UserError
from jaxcnn.training import ending
from jaxcnn.training.activity import Timeline
from jaxcnn.training.coordinator import check_listening, listening_address
from jaxcnn.training.devices import ParallelConfig
from jaxcnn.training.ending import FOREVER, service
from jaxcnn.training.heartbeats import Heartbeats, Peer
from jaxcnn.training.interruption import StopRequest

T = TypeVar("T")

# By themselves the CPU's collectives fail when one process compiles 30 s longer than another.
_PATIENCE = "--xla_cpu_collective_timeout_seconds"
_MESSAGE = 1 << 20  # bytes that the service takes at once; it refuses more than 4 MB
_PARTING = 10  # seconds for what is in the background to end; it takes none
_UNKNOWN = 60  # seconds; a name of Kubernetes is known for that long after its machine at most
_NO_LAUNCHER = (
    "parallel.detect found no launcher: jax knows SLURM's srun, mpirun of Open MPI 4, Kubernetes "
    "with the package 'kubernetes', and Cloud TPU pods; start this by one of them, or give "
    "parallel.coordinator, parallel.processes and parallel.process."
)
_meetings = itertools.count()


@contextlib.contextmanager
def joined(
    config: ParallelConfig, timeline: Timeline | None = None, stop: StopRequest | None = None
) -> Iterator[Callable[[], str]]:
    """Joins the processes of a run, and parts them in order; does nothing for a single one.

    An error within it ends them all, as `jaxcnn.training.ending` says. So does a process that is
    gone without a word (killed, out of memory) or hangs: the others name it and exit with 75.

    Args:
      config: where they meet.
      timeline: what this process is doing, for the others to know.
      stop: hears of it when another process is asked to stop; None where nobody listens.

    Yields:
      A function that says what the other processes are doing, as far as was heard.

    Raises:
      UserError: the others could not be found or reached.
    """
    if config.coordinator is None and not config.detect:
        yield lambda: ""
        return
    _connect(config)
    ending.joined.set()
    process = jax.process_index()
    heartbeats = Heartbeats(
        service(),
        process=process,
        count=jax.process_count(),
        timeline=timeline or Timeline(),
        silence=config.silence,
        lost=lambda peer: _give_up(process, peer, config.silence),
    )
    ending.speak_last(lambda: _gone(process, heartbeats))
    listeners = [
        threading.Thread(target=ending.end_with_others, args=(process,), daemon=True),
        *([] if stop is None else [stop.listener()]),
    ]
    for listener in listeners:
        listener.start()
    with heartbeats.beating():
        try:
            yield heartbeats.others
            wait_for_all()
        except BaseException as error:
            ending.end_by(error, process, lambda: _gone(process, heartbeats))
    ending.joined.clear()
    jax.distributed.shutdown()
    # Which has ended them: one that wakes while the interpreter ends would crash the process.
    for listener in listeners:
        listener.join(_PARTING)


def _gone(process: int, heartbeats: Heartbeats) -> str:
    """Who is gone, where that is known, when something that all take part in has failed."""
    names = ", ".join(peer.name for peer in heartbeats.silent())
    who = f"{names} is gone" if names else "another process of this run is gone or late"
    return f"process {process}: {who}"


def _give_up(process: int, peer: Peer, silence: float) -> None:
    was = f", and it was at {peer.doing}" if peer.doing else ""
    told = (
        f"nothing has been heard of {peer.name} for {silence:g} s{was}; start the same command "
        "again."
    )
    ending.leave(ending.AGAIN, f"process {process}: {told}", told=told)


def from_first(decide: Callable[[], T]) -> T:
    """What process 0 finds or decides, on every process, so that they never disagree.

    Args:
      decide: called on process 0 only; with several processes its result goes through JSON.
    """
    if jax.process_count() == 1:
        return decide()
    key, client = f"jaxcnn/decision/{next(_meetings)}", service()
    if jax.process_index() == 0:
        client.key_value_set(key, json.dumps(decide()))
    return json.loads(client.blocking_key_value_get(key, FOREVER))


def to_first(data: bytes) -> list[bytes]:
    """What every process gives, in the order of their numbers, on process 0; nothing on others."""
    count, process = jax.process_count(), jax.process_index()
    if count == 1:
        return [data]
    meeting, client = f"jaxcnn/gathering/{next(_meetings)}", service()
    parts = [data[at : at + _MESSAGE] for at in range(0, len(data), _MESSAGE)]
    for number, part in enumerate(parts):
        client.key_value_set_bytes(f"{meeting}/{process}/{number}", part)
    client.key_value_set(f"{meeting}/{process}", str(len(parts)))
    if process != 0:
        return []

    def of(sender: int) -> bytes:
        # Its number of parts is set after they are.
        number = int(client.blocking_key_value_get(f"{meeting}/{sender}", FOREVER))
        keys = [f"{meeting}/{sender}/{part}" for part in range(number)]
        return b"".join(client.blocking_key_value_get_bytes(key, FOREVER) for key in keys)

    return [of(sender) for sender in range(count)]


def wait_for_all() -> None:
    """Returns when every process has come here: what each checked before has passed on all."""
    if jax.process_count() > 1:
        service().wait_at_barrier(f"jaxcnn/meeting/{next(_meetings)}", FOREVER)


def _connect(config: ParallelConfig) -> None:
    """Joins the processes, within the time for it."""
    place, listens = config.coordinator or "the launcher's address", None
    if config.coordinator is not None and config.process == 0:
        # The service would end the process by a segmentation fault, or join another run's.
        listens = listening_address(config.coordinator)
        place = check_listening(listens, patience=min(config.timeout, _UNKNOWN))
    # jax would abort the process; this is earlier.
    late = (
        f"the processes of this run did not all meet at {place} within {config.timeout} s; start "
        "them all, process 0 on the machine of that address and each with a number of its own, or "
        "make parallel.timeout longer."
    )
    timer = threading.Timer(config.timeout, ending.end, (ending.MISTAKE, late))
    timer.daemon = True
    timer.start()
    if _PATIENCE not in (flags := os.environ.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = f"{flags} {_PATIENCE}={FOREVER // 1000}".strip()
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process,
            initialization_timeout=config.timeout + 60,
            coordinator_bind_address=listens,
            # What is given by hand is all there is: no device is left out, no service asked.
            cluster_detection_method=None if config.detect else "deactivate",
        )
    except (ValueError, RuntimeError) as error:
        if config.coordinator is None and "coordinator_address" in str(error):
            raise UserError(_NO_LAUNCHER) from error
        raise UserError(
            f"the processes of this run could not be joined ({str(error).splitlines()[0]}); "
            "check parallel.coordinator, or the launcher that parallel.detect relies on."
        ) from error
    finally:
        timer.cancel()
