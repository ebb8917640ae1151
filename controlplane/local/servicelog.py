"""What the processes of an environment wrote, one bounded file each, for who did not watch.

    logs/users.log            2026-01-31T12:00:00.000Z the line
    logs/users.log.1          the lines before those

Lines pass through us on their way to the terminal, so a file is never longer than its limit, however fast they come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from controlplane.local.events import Event, Output
from controlplane.process import stamped
from controlplane.process.stamped import stamp

MAX_BYTES = 2 << 20
"""Of one file; a process has two: twenty thousand lines of a hundred bytes at least, forty thousand at most."""
FOLDER = "logs"


class ServiceLogs:
    """Writes every line that a process writes to its file. folder: that of the environment's state."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder / FOLDER
        self._clock = clock
        self._open: dict[str, BinaryIO] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<ServiceLogs {self._folder} {sorted(self._open)}>"

    def __call__(self, event: Event) -> None:
        if isinstance(event, Output) and not self._closed:  # what was killed may still have something to say
            with suppress(OSError):  # a full disk must not stop what runs
                self._write(event.process, f"{stamp(self._clock())} {event.line}\n".encode(errors="replace"))

    def _write(self, process: str, line: bytes) -> None:
        file = self._open.get(process)
        if file is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = log_path(self._folder, process)
            file = self._open[process] = path.open("ab", buffering=0)
            path.chmod(0o600)
        if file.tell() + len(line) > MAX_BYTES:
            file.close()
            del self._open[process]
            path = log_path(self._folder, process)
            path.replace(stamped.older(path))
            self._write(process, line)
        else:
            file.write(line)

    def close(self) -> None:
        """No more is written."""
        self._closed = True
        for file in self._open.values():
            file.close()
        self._open.clear()


def log_path(folder: Path, process: str) -> Path:
    return folder / f"{process.replace('/', '.')}.log"


def service_log(folder: Path, process: str) -> Path:
    """Where what a process writes is kept. folder: that of the environment's state."""
    return log_path(folder / FOLDER, process)


def lines_of(folder: Path, process: str) -> Iterator[str]:
    """All that is kept, the oldest first. folder: that of the environment's state."""
    return stamped.lines_of(service_log(folder, process))


def known(folder: Path) -> list[str]:
    """The processes of which something is kept: `users`, `users/sidecar`, `registry`."""
    found = sorted(path.name.removesuffix(".log") for path in (folder / FOLDER).glob("*.log"))
    return [name.replace(".", "/") for name in found]
