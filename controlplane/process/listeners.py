"""Who listens where on this machine, for messages that save a person the search. Never for decisions.

`/proc/net/tcp` and `/proc/net/tcp6` (proc(5)) list the listening sockets with their inodes, and the links in
`/proc/PID/fd` say whose they are. Elsewhere, or without the right to look, the answer is that nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from controlplane.process.identity import members

_PROC = Path("/proc")
_LISTEN = "0A"
_COMMAND_LETTERS = 60


def holder(port: int) -> str:
    """Who listens on this port: `process 4711 (python users.py)`, or "" when that cannot be seen."""
    sought = {inode for inode, listening in _listeners().items() if listening == port}
    for folder in _PROC.iterdir() if sought else ():
        if folder.name.isdigit() and not sought.isdisjoint(_sockets(folder.name)):
            return named(int(folder.name))
    return ""


def named(pid: int) -> str:
    """A process as a person would look for it: `process 4711 (python users.py)`."""
    return f"process {pid}{_command(str(pid))}"


def instead(group: int, port: int) -> str:
    """To stand behind "nothing listens on port 20001": where the processes of this group do listen.

    "" when they listen nowhere, or on that port too.
    """
    listening = _listeners()
    found = {listening[inode] for pid in members(group) for inode in _sockets(str(pid)) if inode in listening}
    if not found or port in found:
        return ""
    ports = ", ".join(map(str, sorted(found)))
    return f"; it listens on port{'s' if len(found) > 1 else ''} {ports}: does it heed $PORT?"


def _listeners() -> dict[str, int]:
    """inode -> port."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def _sockets(pid: str) -> Iterator[str]:
    """Inodes of the sockets that a process has open."""
    with suppress(OSError):
        for link in (_PROC / pid / "fd").iterdir():
            with suppress(OSError):
                target = str(link.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _command(pid: str) -> str:
    with suppress(OSError):
        words = (_PROC / pid / "cmdline").read_bytes().decode(errors="replace").split("\0")
        text = " ".join(words).strip()
        if text:
            return f" ({text if len(text) <= _COMMAND_LETTERS else text[: _COMMAND_LETTERS - 3] + '...'})"
    return ""
