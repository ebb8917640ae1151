"""Who is connected to a port of this machine (`/proc/net/tcp`, proc(5)). Elsewhere nothing is known."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_TABLES = tuple(Path("/proc/net") / name for name in ("tcp", "tcp6"))
_ESTABLISHED = "01"


def connected(port: int) -> bool:
    """Somebody has a connection open that this port has accepted, or is about to."""
    end = f":{port:04X}"
    for table in _TABLES:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _ESTABLISHED and fields[1].endswith(end):
                    return True
    return False
