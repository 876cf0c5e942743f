"""The address where process 0 listens: the user's alone, checked before jax would crash on it."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from experiments.faults.small_run import free_port, start
from jaxcnn.errors import UserError
from jaxcnn.training.coordinator import check_listening, listening_address

# What a process listens at, while it and another one are joined and their devices have met.
LISTENERS = """
import ipaddress, json, os, sys
from pathlib import Path

import jax

from jaxcnn.training.devices import ParallelConfig
from jaxcnn.training.processes import joined, wait_for_all

def own_sockets():
    for file in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(file)
        except FileNotFoundError:  # that of the folder
            continue
        if target.startswith("socket:["):
            yield target[len("socket:["):-1]

def address(text):
    # In words of four bytes, each in the machine's own order.
    words = [bytes.fromhex(text[at:at + 8])[::-1] for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return str(getattr(found, "ipv4_mapped", None) or found)

def listeners():
    inodes, found = set(own_sockets()), []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                host, port = fields[1].split(":")
                found.append([address(host), int(port, 16)])
    return found

coordinator, process = sys.argv[1], int(sys.argv[2])
with joined(ParallelConfig(coordinator=coordinator, processes=2, process=process)):
    jax.devices()
    wait_for_all()
    print(json.dumps(listeners()))
    wait_for_all()
"""


def test_process_0_listens_where_it_was_told_to_and_nobody_anywhere_else():
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LISTENERS, f"127.0.0.1:{port}", str(number)],
            env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": os.getcwd()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (
        [tuple(each) for each in json.loads(output.splitlines()[-1])] for output in outputs
    )
    assert ("127.0.0.1", port) in first
    # The others are of the collectives: at the machine's own address, at a port of their choice.
    assert len(first) == 2
    assert len(second) == 1
    for host, _ in first + second:
        assert host not in ("0.0.0.0", "::")
    assert port not in [number for _, number in second]


def test_it_can_be_stopped_while_it_waits_for_the_others(tmp_path):
    port = free_port()
    process = start(
        tmp_path / "run",
        f"--config.parallel.coordinator=127.0.0.1:{port}",
        "--config.parallel.processes=2",
        "--config.parallel.process=0",
    )
    while process.poll() is None and not listens(port):
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert errors.startswith("Stopped before there was anything to save")
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_name_is_said_with_its_number():
    port = free_port()
    assert check_listening(f"127.0.0.1:{port}", patience=0) == f"127.0.0.1:{port}"
    words = check_listening(f"localhost:{port}", patience=0)
    assert words.startswith(f"localhost:{port} (")
    assert "127.0.0.1" in words or "::1" in words


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        # Kept for documentation: no machine has it.
        ("203.0.113.1:1234", f"is no address of this machine, {socket.gethostname()}"),
        ("nobody.invalid:1234", "no machine of that name is known"),
    ],
)
def test_an_address_that_is_not_ours(address, sentence):
    with pytest.raises(UserError, match=f"process 0 cannot listen at {address}.*{sentence}"):
        check_listening(address, patience=0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_address_that_is_taken(family):
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        address = f"{host}:{port}" if family == socket.AF_INET else f"[{host}]:{port}"
        with pytest.raises(UserError, match="Address already in use"):
            check_listening(address, patience=0)
    assert check_listening(address, patience=0) == address


def test_a_name_is_waited_for(monkeypatch):
    asked, known = [], socket.getaddrinfo

    def getaddrinfo(host, *arguments, **named):
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return known("127.0.0.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    check_listening(f"vgg-0.vgg:{free_port()}", patience=30)
    assert asked == ["vgg-0.vgg"] * 3


def test_where_the_others_call_another_machine(monkeypatch):
    assert listening_address("203.0.113.1:1234") == "203.0.113.1:1234"
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "0.0.0.0:1234")
    assert listening_address("203.0.113.1:1234") == "0.0.0.0:1234"
