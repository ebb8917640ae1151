"""The output of one short program: a file that it appends to, and its last lines.

That of a shadow, which runs for as long as it likes, is written by its keeper (`controlplane.process.keeper`).
"""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 256 << 10
"""How far back `tail` reads at most."""


def open_log(path: Path) -> int:
    """A file descriptor that appends; only the owner may read it, for applications log secrets."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines, without the final line break; "" when there is no such file."""
    if lines <= 0:
        return ""
    try:
        found = _end_of(path, TAIL_BYTES)
    except OSError:
        return ""
    return "\n".join(found.decode(errors="replace").splitlines()[-lines:])


def _end_of(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a file, from the beginning of a line on where there is one."""
    with path.open("rb") as log:
        start = max(0, log.seek(0, os.SEEK_END) - limit)
        log.seek(start)
        found = log.read(limit)
    if start:
        _, broken, rest = found.partition(b"\n")
        return rest if broken else found
    return found
