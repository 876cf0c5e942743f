"""Nothing listens on the network unless asked."""

import subprocess
import sys
import time
from pathlib import Path

from experiments.faults.small_run import start

_LISTENING = "0A"  # in /proc/net/tcp; of UDP, which knows no listening, every socket counts


def family(pid):
    """A process and all that come of it, as far as they live."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = {c for t in threads for c in (t / "children").read_text().split()}
    except OSError:
        return {pid}
    return {pid}.union(*(family(int(child)) for child in children))


def sockets(pid):
    """The inodes of a process's sockets."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:  # ended meanwhile
        pass
    return found


def listening(pid):
    """The addresses that a process and all that come of it listen at, in /proc's hexadecimal."""
    owned = set().union(*map(sockets, family(pid)))
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            listens = protocol.startswith("udp") or fields[3] == _LISTENING
            if listens and fields[9] in owned:
                found.add(f"{protocol} {fields[1]}")
    return found


def test_who_listens_is_seen():
    """Also where it is the child of a child."""
    inner = (
        "import socket, time\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    globals()[str(kind)] = s = socket.socket(socket.AF_INET, kind)\n"
        "    s.bind(('127.0.0.1', 0))\n"
        "    if kind == socket.SOCK_STREAM: s.listen()\n"
        "print(flush=True)\n"
        "time.sleep(60)"
    )
    outer = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}])\n"
        "try: child.wait()\n"
        "finally: child.kill()"
    )
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = listening(process.pid)
        members = family(process.pid) - {process.pid}
        for member in members:
            subprocess.run(["kill", str(member)], check=True)
    assert len(members) == 1
    assert sorted(each.split()[0] for each in found) == ["tcp", "udp"]
    assert all("0100007F:" in each for each in found)


def test_a_run_of_one_process_listens_nowhere(tmp_path):
    """Neither itself nor the process that reads its data, from its start to its end."""
    short = ("--config.train.epochs=1", "--config.schedule.warmup_epochs=0")
    process = start(tmp_path / "run", "--config.data.workers=1", *short)
    looks, most, found = 0, 0, set()
    while process.poll() is None:
        most = max(most, len(family(process.pid)))
        found |= listening(process.pid)
        looks += 1
        time.sleep(0.05)
    output, errors = process.communicate()
    assert process.returncode == 0, f"{output}\n{errors}"
    assert not found
    assert looks > 50
    assert most > 1
