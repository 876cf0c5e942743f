"""Feeds damaged inputs to what reads them, and says which of them did harm.

    python tests/fuzzing.py --count=20000 --seed=1 --kinds=images,weights

Every input must come to a result or to one sentence (UserError): in little time and memory, with
nothing run, nothing written outside its folder and no connection made. All inputs of a run go
through one process, a child of this one, so that an input that ends it is known by its number; the
rest then go through another. An input is a function of seed, kind and number, whatever else is run.
"""

import argparse
import collections
import faulthandler
import importlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS = 5.0  # that an input may take of the processor
PATIENCE = 120.0  # seconds on the clock, which other programs may take
MEBIBYTES = 1024  # of memory, more than before
ADDRESSES = 16 << 30  # bytes that may be asked for, more than before: the machine's own safety
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.putenv",
    "os.kill",
    "subprocess.Popen",
    "pty.spawn",
    "pickle.find_class",
    "marshal.load",
    "ctypes.dlopen",
    "webbrowser.open",
    "socket.bind",
    "socket.connect",
)
WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def run(count, seed, kinds=None, module="malformed", limits=(SECONDS, PATIENCE, MEBIBYTES)):
    """The outcomes of many inputs: for each kind a Counter, and for each a list of the harm done.

    Args:
      count: inputs, over all kinds.
      seed: of all of them.
      kinds: names; None for all.
      module: which defines KINDS.
      limits: of an input: processor time, time, and memory in MiB.
    """
    known = importlib.import_module(module).KINDS
    chosen = {name: known[name].share for name in kinds or known}
    total = sum(chosen.values())
    outcomes = {name: collections.Counter() for name in chosen}
    harm = {name: [] for name in chosen}
    jobs = [[name, 0, -(-count * share // total)] for name, share in chosen.items()]
    while jobs:
        number, said = _in_a_child((module, jobs, seed, limits), jobs, outcomes, harm)
        if number is None:
            break
        name, first, _ = jobs[0]
        harm[name].append(f"input {number}: ended the process: {said}")
        jobs[0][1] = max(number, first) + 1
    return outcomes, harm


def _in_a_child(task, jobs, outcomes, harm):
    """Goes through jobs, which shrink; the input that the child ended at, if it did."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        environment = os.environ | {
            "JAXCNN_CACHE": os.path.join(folder, "cache"),
            "TMPDIR": folder,
            "MALLOC_ARENA_MAX": "2",
            "PYTHONPATH": os.pathsep.join(map(str, [HERE.parent, HERE])),
            "JAX_PLATFORMS": "cpu",
        }
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps([folder, *task])],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        number = None
        with child.stdout as events:
            lines = events.readlines()
        for line in lines:
            event = json.loads(line)
            match event:
                case ["begin", name, number]:
                    while jobs[0][0] != name:
                        jobs.pop(0)
                case [outcome, says]:
                    outcomes[jobs[0][0]][outcome] += 1
                    if outcome == "harm":
                        harm[jobs[0][0]].append(f"input {number}: {says}")
                    jobs[0][1] = number + 1
                case ["end"]:
                    number = None
        status = child.wait()
        if status == 0:
            return None, ""
        errors.seek(0)
        said = f"status {status}: {errors.read()[-3000:]}"
        if number is None:
            raise RuntimeError(f"the process ended before any input, {said}")
        return number, said


def _child(folder, module, jobs, seed, limits):
    """Goes through jobs, telling of each input on a stream of its own."""
    kinds = importlib.import_module(module).KINDS
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a reader prints

    def tell(*event):
        told.write(json.dumps(event) + "\n")

    events = []
    sys.addaudithook(lambda name, arguments: events.append(_misdeed(name, arguments, folder)))
    for name, first, count in jobs:
        place = Path(folder) / name
        place.mkdir()
        trial = kinds[name].make(place)
        _outcome(
            trial, random.Random(f"warm-up of {name}"), events, limits
        )  # what is imported late
        limit = _memory("VmSize") + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        for number in range(first, count):
            tell("begin", name, number)
            faulthandler.dump_traceback_later(limits[1], exit=True)
            tell(*_outcome(trial, random.Random(f"{seed} {name} {number}"), events, limits))
            faulthandler.cancel_dump_traceback_later()
    tell("end")


def _misdeed(name, arguments, folder):
    """What an audit event is, where no data may cause it; else None."""
    if name in FORBIDDEN:
        return f"{name}{arguments!r}"[:300]
    if (
        name == "open"
        and isinstance(arguments[2], int)
        and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        return _outside(name, (arguments[0], -1), folder)
    return _outside(name, arguments, folder) if name in WRITES else None


def _outside(name, arguments, folder):
    *paths, place = arguments
    if isinstance(place, int) and place >= 0:  # the descriptor of the folder that paths are in
        paths = [Path(os.readlink(f"/proc/self/fd/{place}"), path) for path in paths]
    for path in (*paths, place):
        if isinstance(path, str | bytes | os.PathLike):
            path = os.fsdecode(path)
            if not os.path.realpath(path).startswith((os.path.realpath(folder) + "/", "/dev/")):
                return f"{name} {path}"
    return None


def _outcome(trial, draw, events, limits):
    """What becomes of one input: a kind of outcome, and what it says."""
    from jaxcnn.errors import UserError

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    events.clear()
    before, started = _memory("VmRSS"), time.process_time()
    outcome, says = "read", ""
    try:
        trial(draw)
    except UserError as error:
        outcome, says = "refused", str(error)
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            outcome, says = "harm", f"asked for more memory than there is: {says}"
        elif not says.endswith((".", "?", "`")) or len(says.splitlines()) != 1:
            outcome, says = "harm", f"no sentence: {says!r}"
    except Exception as error:
        outcome, says = "harm", "".join(traceback.format_exception(error))[-3000:]
    seconds, memory = time.process_time() - started, _memory("VmHWM") - before
    if seconds > limits[0]:
        outcome, says = "harm", f"took {seconds:.1f} s: {says}"
    elif memory > limits[2] * 2**20:
        outcome, says = "harm", f"took {memory / 2**20:.0f} MiB: {says}"
    elif misdeeds := [event for event in events if event]:
        outcome, says = "harm", f"did what no data may do: {misdeeds[0]}"
    return outcome, says


def _causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _memory(field):
    """A line of this process's status, in bytes."""
    (line,) = (r for r in Path("/proc/self/status").read_text().splitlines() if r.startswith(field))
    return int(line.split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="inputs (default: 2000)")
    parser.add_argument("--seed", default="0", help="(default: 0)")
    parser.add_argument("--kinds", help="separated by commas (default: all)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _child(*json.loads(options.child))
    started = os.times()
    outcomes, harm = run(options.count, options.seed, options.kinds and options.kinds.split(","))
    for name, counts in outcomes.items():
        print(f"{name:<14}" + ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))
        for each in harm[name]:
            print(f"  {each}")
    spent = os.times()
    seconds = spent.children_user + spent.children_system - started.children_user
    print(f"{sum(map(len, harm.values()))} of {options.count} did harm; {seconds:.0f} s of CPU.")
    return 1 if any(harm.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
