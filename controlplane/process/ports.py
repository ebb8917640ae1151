"""Ports that nobody listens on, each handed out once.

A port has to be chosen before the process that will listen on it exists, so nothing can make the choice certain;
three things make a collision rare, and the launcher starts again with other ports when one happens:

1. Ports come from below the kernel's ephemeral range (`ip_local_port_range`, 32768 and up by default). Inside it,
   any outgoing connection of any process may take the port in the meantime, and a readiness probe may even connect
   to itself (a TCP simultaneous open with equal ports), which looks like an application that is up.
2. They are chosen at random, so that two programs choosing at the same time seldom meet, and tested by binding.
3. A pool never hands out the same port twice until it is given back.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable
from pathlib import Path

FIRST = 20_000
"""Below it live the well-known ports of databases and development servers."""

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL = 32_768
_LEAST = 1_000
"""With fewer ports than this below the ephemeral range, the kernel's own choice is better."""
_TRIES = 200
IN_USE = "is in use"
_EVERYWHERE = ("0.0.0.0", "::")
"""An application may listen on all interfaces: a port that we choose is free on all of them."""


class PortPool:
    """Hands out free TCP ports of the loopback interface."""

    def __init__(self, first: int = FIRST, end: int | None = None) -> None:
        self._first = first
        self._end = _ephemeral_start() if end is None else end
        self._taken: set[int] = set()

    def __repr__(self) -> str:
        return f"<PortPool {self._first}-{self._end} {len(self._taken)} taken>"

    def take(self, preferred: int | None = None) -> int:
        """A port, `preferred` if it is free. Raises OSError when none can be found."""
        if preferred is not None and self._free(preferred):
            self._taken.add(preferred)
            return preferred
        for _ in range(_TRIES):
            port = self._candidate()
            if self._free(port):
                self._taken.add(port)
                return port
        raise OSError(errno.EADDRINUSE, f"no free port between {self._first} and {self._end}")

    def keep(self, port: int) -> None:
        """Never hand out `port`: somebody named it."""
        self._taken.add(port)

    def give_back(self, ports: Iterable[int]) -> None:
        self._taken.difference_update(ports)

    def _candidate(self) -> int:
        if self._end - self._first >= _LEAST:
            return random.randrange(self._first, self._end)
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            return int(chosen.getsockname()[1])

    def _free(self, port: int) -> bool:
        return port not in self._taken and not why_busy(port, _EVERYWHERE)


def why_busy(port: int, hosts: Iterable[str] = ("127.0.0.1",)) -> str:
    """Why nobody can listen on this port, in a few words; "" when somebody can.

    SO_REUSEADDR is what servers set: connections in TIME_WAIT do not make a port busy, a listener does.
    """
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return IN_USE
            if error.errno in (errno.EACCES, errno.EPERM):
                return "needs more rights: ports below 1024 belong to root"
            if family == socket.AF_INET6:
                continue  # a machine without IPv6
            return f"cannot be used: {error.strerror}"
    return ""


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _DEFAULT_EPHEMERAL
