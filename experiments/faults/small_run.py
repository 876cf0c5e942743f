"""A small run on the digits by the real command, in processes of its own, to be disturbed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from jaxcnn.data.cache import cache_folder

ROOT = Path(__file__).parents[2]
# Everything that has a state is on: dropout, BatchNorm, augmentation, the averaged parameters, a
# plateau, early stopping, checkpoints within the epoch (11 steps) and within a record's window.
ARGUMENTS = (
    "--config=digits",
    "--config.model.name=vgg11_bn",
    "--config.model.width=8",
    "--config.model.hidden=32,32",
    "--config.train.batch_size=128",
    "--config.train.epochs=3",
    "--config.train.log_every=3",
    "--config.eval.batch_size=120",
    "--config.checkpoint.every_steps=4",
    "--config.optimizer.ema=0.9",
    "--config.schedule.kind=plateau",
    "--config.schedule.warmup_epochs=1",
    "--config.schedule.patience=1",
    "--config.schedule.early_stopping=10",
    "--config.data.threads=2",
)
STEPS, EVERY = 33, 4  # of this run, and of its checkpoints


def start(
    workdir: Path,
    *extra: str,
    program: Sequence[str] = ("-m", "experiments.vgg_imagenet"),
    devices: int = 1,
    cache: Path | None = None,
    output: IO[str] | None = None,
) -> subprocess.Popen[str]:
    """A process of the command.

    Args:
      workdir: the run's.
      extra: further arguments, which take the place of those of the same name.
      program: what Python runs with them.
      devices: so many virtual ones of the CPU.
      cache: where compiled programs are kept; None for the user's cache.
      output: takes what it prints; None for two pipes.
    """
    given = {argument.partition("=")[0] for argument in extra}
    others = [a for a in ARGUMENTS if a.partition("=")[0] not in given]
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache or cache_folder("xla")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, *program, *others, f"--config.workdir={workdir}", *extra],
        env=os.environ | environment,
        stdout=output or subprocess.PIPE,
        stderr=output or subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    """One that nothing listens at."""
    with socket.socket() as anyone:
        anyone.bind(("127.0.0.1", 0))
        return anyone.getsockname()[1]


def start_several(
    workdir: Path,
    *extra: str,
    processes: int = 2,
    devices: int = 1,
    own: Sequence[str] = (),
    cache: Path | None = None,
    outputs: Sequence[IO[str]] = (),
) -> list[subprocess.Popen[str]]:
    """The processes of one run.

    Args:
      workdir: the run's.
      extra: further arguments, as of `start`.
      processes: how many.
      devices: those of each.
      own: further arguments of the last process.
      cache: as of `start`.
      outputs: take what each prints; none for pipes.
    """
    meeting = f"--config.parallel.coordinator=127.0.0.1:{free_port()}"
    return [
        start(
            workdir,
            meeting,
            f"--config.parallel.processes={processes}",
            f"--config.parallel.process={number}",
            *extra,
            *(own if number == processes - 1 else ()),
            devices=devices,
            cache=cache,
            output=outputs[number] if outputs else None,
        )
        for number in range(processes)
    ]


class SmallRun:
    """One start of a run, in one process or several, none of which outlives the block.

    Args:
      workdir: the run's.
      logs: a folder; what each process prints goes into a file of its own there.
      extra: further arguments, as of `start`.
      processes: how many.
      devices: those of each.
      cache: as of `start`.
    """

    def __init__(
        self,
        workdir: Path,
        logs: Path,
        *extra: str,
        processes: int = 1,
        devices: int = 1,
        cache: Path | None = None,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        number = len(list(logs.iterdir()))
        self.workdir = workdir
        self.logs = [logs / f"{number:04}_process_{n}.txt" for n in range(processes)]
        outputs = [log.open("w") for log in self.logs]
        self.started = time.monotonic()
        if processes == 1:
            first = start(workdir, *extra, devices=devices, cache=cache, output=outputs[0])
            self.processes = [first]
        else:
            self.processes = start_several(
                workdir,
                *extra,
                processes=processes,
                devices=devices,
                cache=cache,
                outputs=outputs,
            )
        for output in outputs:
            output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    @property
    def ended(self) -> bool:
        """True once any of its processes has ended."""
        return any(process.poll() is not None for process in self.processes)

    def send(self, number: signal.Signals, processes: Sequence[int] | None = None) -> None:
        """Sends a signal to some of its processes, by number; None for all."""
        for process in range(len(self.processes)) if processes is None else processes:
            self.processes[process].send_signal(number)

    def wait(self, seconds: float, processes: Sequence[int] | None = None) -> list[int | None]:
        """The exit statuses, such as -9 of one that was killed, once all have ended.

        Args:
          seconds: how long to wait at most; that of a process that has not ended by then is None.
          processes: which to wait for; None for all.
        """
        end = time.monotonic() + seconds
        statuses: list[int | None] = []
        for process in range(len(self.processes)) if processes is None else processes:
            try:
                statuses.append(self.processes[process].wait(max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                statuses.append(None)
        return statuses

    def printed(self, process: int = 0) -> str:
        """What a process has printed so far, warnings and errors included."""
        return self.logs[process].read_text(errors="replace")
