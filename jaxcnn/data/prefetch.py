"""Reads batches ahead of time, in threads and worker processes, and leaves nothing behind."""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Protocol

import grain
import numpy as np
from absl import flags

from jaxcnn.errors import UserError

_Arrays = dict[str, np.ndarray]


class Batches(Protocol):
    """Random access to batches by their number."""

    def __getitem__(self, number: int) -> _Arrays: ...


@contextlib.contextmanager
def read_ahead(
    batches: Batches, start: int, stop: int, *, workers: int, threads: int, prefetch: int
) -> Iterator[Iterator[_Arrays]]:
    """Reads the batches from number `start` to before `stop`, in order and ahead of time.

    Leaving the context stops the threads and ends the worker processes, whether or not the stream
    was read to its end. What a batch raises comes out of the stream where that batch would have.

    Args:
      batches: they are read from several threads at once; for worker processes they are pickled,
        and the main module needs its ``if __name__ == '__main__'`` guard.
      start: the first number.
      stop: the number after the last.
      workers: processes that read, but no more than there are cores: each takes a second of a
        core to start, and what is read is the same by any number; 0 for the threads of this one.
      threads: threads that read, over all processes; each makes whole batches.
      prefetch: batches ready or in the making, over all processes; at least one to each thread.
    """
    workers = min(workers, len(os.sched_getaffinity(0)))
    processes = max(1, workers)
    threads = -(-threads // processes)
    dataset = grain.MapDataset.source(_Stretch(batches, start, stop)).to_iter_dataset(
        grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=max(threads, -(-prefetch // processes))
        )
    )
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain hands absl's flags on to its workers
            flags.FLAGS(["jaxcnn"], known_only=True)
        dataset = dataset.mp_prefetch(
            grain.multiprocessing.MultiprocessingOptions(num_workers=workers),
            worker_init_fn=_start_worker,
        )
    iterator = iter(dataset)
    stream = _stream(iterator, stop - start, copy=workers > 0)
    try:
        yield stream
    finally:
        stream.close()
        iterator.close()


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """A stretch of batches as a data source of Grain's, which never ends and gives out errors.

    At an end and at an exception Grain holds on to the last batch that it has in shared memory,
    and Python complains of it when the program exits; so neither comes to pass. Beyond the stretch
    there are empty batches, which nobody asks for.
    """

    batches: Batches
    start: int
    stop: int

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> _Arrays | UserError:
        if position >= self.stop - self.start:
            return {}
        try:
            return self.batches[self.start + position]
        except UserError as error:
            return error


def _stream(
    iterator: Iterator[_Arrays | UserError], count: int, *, copy: bool
) -> Generator[_Arrays, None, None]:
    for batch in itertools.islice(iterator, max(0, count)):
        if isinstance(batch, UserError):
            raise batch
        # Shared memory is given back at once, not whenever the last user of a batch lets go of it.
        yield {name: np.array(array) for name, array in batch.items()} if copy else batch


def _start_worker(index: int, count: int) -> None:
    """Ties a worker process to the main one: it ends with it, and at no signal of its own.

    Ctrl-C and a scheduler's SIGTERM go to the whole group; the main process answers them, and may
    want a few batches more. One that is killed outright can end nobody, so its workers watch it.
    """
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
