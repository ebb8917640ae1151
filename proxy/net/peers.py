"""Whose process is at the other end of a connection of this machine.

A shadow that was not told where its own sidecar listens, because the address stands in its code, calls the baseline's
sidecar. It is known by its process all the same: whoever starts a shadow gives it the routing key in its environment
(SKYCAP_ROUTING_KEY), and what it starts inherits that or is its descendant.

    address of the peer ──/proc/net/tcp──▶ inode of its socket ──/proc/PID/fd──▶ process ──/proc/PID/environ──▶ key

Only processes of our own user can be looked into, and only on Linux; of others nothing is known.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.base.tasks import Tasks
from proxy.contract.names import ROUTING_KEY

VARIABLE: Final = b"SKYCAP_ROUTING_KEY="
"""The variable of a shadow's environment that holds its sandbox's key."""

MAX_RECENT: Final = 64
"""Processes that are looked at first: those that called last. An integer each."""

_PROC: Final = Path("/proc")
_DEPTH: Final = 64
"""Ancestors of a process that are asked, so that a table that changes meanwhile leads into no circle."""


class Peers:
    """Finds the keys of callers, in a thread, since it reads some hundred small files when a process is new."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._recent: dict[int, None] = {}

    def ask(self, transport: asyncio.BaseTransport, tell: Callable[[str], None]) -> None:
        """Call `tell` with the key of the process at the other end, "" when it has none or nothing is known of it.
        Never from within this call."""
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._tasks.spawn(self._ask(peer, own, tell), "peer")

    async def _ask(self, peer: object, own: object, tell: Callable[[str], None]) -> None:
        key = ""
        if isinstance(peer, tuple) and isinstance(own, tuple):
            with suppress(OSError):
                key = await asyncio.to_thread(self._find, peer, own)
        tell(key)

    def _find(self, peer: tuple[str, int], own: tuple[str, int]) -> str:
        inode = _inode(_spelt(peer), _spelt(own))
        if inode is None:
            return ""
        wanted = f"socket:[{inode}]"
        for pid in self._candidates():
            if _holds(pid, wanted):
                self._recent.pop(pid, None)
                while len(self._recent) >= MAX_RECENT:
                    del self._recent[next(iter(self._recent))]
                self._recent[pid] = None
                return _key(pid)
        return ""

    def _candidates(self) -> Iterator[int]:
        """Processes, those first that called last."""
        recent = [*reversed(list(self._recent))]
        yield from recent
        seen = {*recent, os.getpid()}
        for folder in _PROC.iterdir():
            if folder.name.isdecimal() and int(folder.name) not in seen:
                yield int(folder.name)


def _spelt(address: tuple[str, int]) -> str:
    """An address as /proc/net/tcp has it: each 32 bits in the order of the machine's bytes, then the port."""
    host, port = address[0].partition("%")[0], address[1]
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"


def _inode(local: str, remote: str) -> str | None:
    """The inode of the socket that has these two ends, None when there is none here."""
    table = "tcp6" if len(local) > len("00000000:0000") else "tcp"
    with (_PROC / "net" / table).open(encoding="ascii") as lines:
        for line in lines:
            fields = line.split(None, 10)
            if fields[1:3] == [local, remote]:
                return fields[9]
    return None


def _holds(pid: int, wanted: str) -> bool:
    """The process has a descriptor of this socket. One that has ended, or is somebody else's, has not."""
    try:
        descriptors = list((_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
    for descriptor in reversed(descriptors):  # what was opened last stands last
        with suppress(OSError):
            if str(descriptor.readlink()) == wanted:
                return True
    return False


def _key(pid: int) -> str:
    """The key in the environment of a process or, when it has cleared that, of the nearest ancestor that has one."""
    for _ in range(_DEPTH):
        try:
            variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            status = (_PROC / str(pid) / "stat").read_bytes()
        except OSError:
            break
        for variable in variables:
            if variable.startswith(VARIABLE):
                key = variable[len(VARIABLE) :].decode("ascii", "replace")
                return key if ROUTING_KEY.fullmatch(key) else ""
        pid = int(status.rpartition(b")")[2].split()[1])
        if pid <= 1:
            break
    return ""
