"""Signs of life between the processes of a run: one that dies or hangs is named within a minute.

Every process says every two seconds, through the service of `jax.distributed`, that it is there
and what it is doing, and judges the others by when it last saw them say something new. Only each
process's own clock is read, and only for durations.
"""

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxcnn.training.activity import Timeline

_FOLDER = "jaxcnn/alive"
_EVERY = 2.0  # seconds between two signs of life
_LOOK = 1.0  # seconds between two judgements
_ASLEEP = 5.0  # a judgement so much late
_RECENT = 8.0  # a process of which so long nothing was heard is probably gone


@dataclasses.dataclass
class Peer:
    """What is known of a process.

    Attributes:
      number: the process's number.
      seen: when it was last heard of, in seconds of this process's clock.
      beat: how often it has said so.
      name: number, host and process id, in words.
      doing: what it did then, in words.
    """

    number: int
    seen: float
    beat: int = -1
    name: str = ""
    doing: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or f"process {self.number}"


class Heartbeats:
    """This process's signs of life, and what it sees of the others'.

    Args:
      service: the client of `jax.distributed`'s service.
      process: this process's number.
      count: how many processes there are.
      timeline: what this process is doing.
      silence: seconds after which a process that says nothing is given up.
      lost: is called once, from a thread of its own, with the process that was given up.
    """

    def __init__(
        self,
        service: Any,
        *,
        process: int,
        count: int,
        timeline: Timeline,
        silence: float,
        lost: Callable[[Peer], object],
    ) -> None:
        self._service, self._process, self._timeline = service, process, timeline
        self._silence, self._lost = silence, lost
        self._over = threading.Event()
        self._peers = {
            number: Peer(number, time.monotonic()) for number in range(count) if number != process
        }

    @contextlib.contextmanager
    def beating(self) -> Iterator["Heartbeats"]:
        """Gives signs of life and watches for those of the others, in the background."""
        threads = [
            threading.Thread(target=work, name="heartbeats", daemon=True)
            for work in (self._beat, self._judge)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join(_EVERY)  # no longer: it may wait for a service that hangs

    def silent(self) -> list[Peer]:
        """The other processes of which nothing has been heard of late."""
        now = time.monotonic()
        return [peer for peer in self._peers.values() if now - peer.seen > _RECENT]

    def others(self) -> str:
        """What each of the other processes is doing, as far as was heard."""
        return "; ".join(
            f"{peer.name} is at {peer.doing}" for peer in self._peers.values() if peer.doing
        )

    def _beat(self) -> None:
        """Speaks and listens; where the service's process hangs, for ever."""
        beat = 0
        while True:
            present = self._timeline.present.detail
            own = json.dumps([beat, socket.gethostname(), os.getpid(), present])
            try:
                self._service.key_value_set(f"{_FOLDER}/{self._process}", own, allow_overwrite=True)
                for key, value in self._service.key_value_dir_get(_FOLDER):
                    self._heard(int(key.rpartition("/")[2]), *json.loads(value))
            except jax.errors.JaxRuntimeError:  # the service is gone, and its process with it
                pass
            beat += 1
            if self._over.wait(_EVERY):
                return

    def _heard(self, number: int, beat: int, host: str, pid: int, doing: str) -> None:
        peer = self._peers.get(number)
        if peer is not None and beat != peer.beat:
            peer.beat, peer.seen, peer.doing = beat, time.monotonic(), doing
            peer.name = f"process {number} (host {host}, process id {pid})"

    def _judge(self) -> None:
        """Gives up a process that is silent; where the service itself is, the one that keeps it."""
        looked = time.monotonic()
        while not self._over.wait(_LOOK):
            before, looked = looked, time.monotonic()
            if (
                looked - before > _LOOK + 5
            ):  # this process was stopped itself, and has heard nothing
                for peer in self._peers.values():
                    peer.seen = looked
            late = [p for p in self._peers.values() if looked - p.seen > self._silence]
            if late:
                # Process 0 keeps the service: without it nothing is heard of any other.
                self._lost(next((peer for peer in late if peer.number == 0), late[0]))
                return
