"""The output of a shadow: one file that its processes append to, so that it survives the registry.

Writers hold the file open with O_APPEND and nobody rotates it under them; whoever watches the shadow cuts the file
down in place. What is written between the reading and the cutting is lost: a few lines out of megabytes.
"""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 4 << 20
"""A hundred shadows at their limit are 400 MB of disk; a longer log than this is no help to anybody."""
KEPT_BYTES = 1 << 20
"""What remains after a cut: at 100 bytes a line the last ten thousand lines."""
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


def cut(path: Path) -> bool:
    """Keep only the end of a file that has grown past MAX_BYTES. True when it was cut."""
    try:
        if path.stat().st_size <= MAX_BYTES:
            return False
        kept = _end_of(path, KEPT_BYTES)
        with path.open("r+b") as log:
            log.write(kept)
            log.truncate()
    except OSError:
        return False
    return True


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
