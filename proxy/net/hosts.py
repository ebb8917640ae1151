"""/etc/hosts as the C library reads it (hosts(5), `multi on`): all lines of a name count, in their order.

c-ares reads it too, but knows only one line of a name that has several.
"""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

HOSTS = Path("/etc/hosts")

MAX_BYTES = 8 << 20
"""Lists that block advertisements have 5 MB; what is behind that is not read."""

KNOWN_SECONDS = 5.0
"""Until the file is looked at again for a name."""


class HostsFile:
    """path: read again when it has changed."""

    def __init__(self, path: Path = HOSTS) -> None:
        self._path = path
        self._read: tuple[int, ...] = ()
        self._names: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<HostsFile {self._path} {len(self._names)} names>"

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Those of `name`, empty when it is not there."""
        try:
            status = self._path.stat()
        except OSError:
            return ()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._read:
            self._names = await asyncio.to_thread(_parsed, self._path)
            self._read = seen
        return self._names.get(name.lower().rstrip("."), ())


def _parsed(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *rest = line.partition("#")[0].split() or [""]
        try:
            numeric = str(ipaddress.ip_address(address))
        except ValueError:
            continue
        for name in rest:
            known = names.get(name.lower(), ())
            if numeric not in known:
                names[name.lower()] = (*known, numeric)
    return names
