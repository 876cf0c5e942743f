"""Where process 0 listens for the others: at the one address that the user gave, and no other."""

import contextlib
import errno
import os
import socket
import time

from jaxcnn.errors import UserError

_ELSEWHERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listening_address(coordinator: str) -> str:
    """What process 0 listens at: the address that the others call, but for what jax is told.

    Where they reach it by another machine's, as behind a translation of addresses, the user says
    so by ``$JAX_COORDINATOR_BIND_ADDRESS``, jax's own variable.
    """
    return os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or coordinator


def check_listening(address: str, *, patience: float) -> str:
    """Makes sure that this process can listen at an address, where jax would end by a crash.

    Args:
      address: ``HOST:PORT``.
      patience: seconds for which a name may be unknown, as that of a machine that just started is.

    Returns:
      The address in words: a name with the number that it stands for here.

    Raises:
      UserError: the host is unknown or another machine, or something listens there already.
    """
    host, _, port = address.rpartition(":")
    here = []
    for family, place in _numbers(host.strip("[]"), int(port), time.monotonic() + patience):
        try:
            socket.create_server(place, family=family).close()
        except OSError as error:
            if error.errno in _ELSEWHERE:
                continue
            raise UserError(
                f"process 0 cannot listen at {address} ({os.strerror(error.errno or 0)}); give "
                "another port by parallel.coordinator."
            ) from error
        here.append(place[0])
    if not here:
        raise UserError(
            f"process 0 cannot listen at {address}, which is no address of this machine, "
            f"{socket.gethostname()}; start process 0 on that one, or give one of this one's "
            "addresses that all reach by parallel.coordinator."
        )
    return address if host.strip("[]") in here else f"{address} ({', '.join(here)})"


def _numbers(host: str, port: int, until: float) -> list[tuple[socket.AddressFamily, tuple]]:
    """The addresses that a name stands for, waited for until a time of the monotonic clock."""
    while True:
        with contextlib.suppress(socket.gaierror):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [(family, place) for family, _, _, _, place in found]
        if time.monotonic() > until:
            raise UserError(
                f"process 0 cannot listen at {host}:{port}: no machine of that name is known "
                "here; give this machine's address by parallel.coordinator."
            )
        time.sleep(0.5)
