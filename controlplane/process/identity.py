"""Which process a stored process id means.

A pid is reused sooner or later, so a stored pid alone must never be signalled. The pid *and* the moment the
process started name one process for good. On Linux the moment is field 22 of `/proc/PID/stat` (ticks since boot,
proc(5)) together with the boot's own id; elsewhere `ps` tells it. A zombie counts as gone: it does nothing any
more and only waits to be reaped by its parent.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_DEAD = ("Z", "X", "x")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, now and for ever. `started` is opaque: it is only compared."""

    pid: int
    started: str

    def alive(self) -> bool:
        """It runs. False as soon as it is a zombie, and for another process that got its pid."""
        return identify(self.pid) == self

    def encode(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started}


def decode_identity(document: object) -> Identity | None:
    """What `encode` made, or None for anything else: a damaged record must not become a signal to a stranger."""
    if not isinstance(document, Mapping):
        return None
    pid, started = document.get("pid"), document.get("started")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 1 or not isinstance(started, str):
        return None
    return Identity(pid, started)


def identify(pid: int) -> Identity | None:
    """The process that has this pid now, or None when there is none or only its zombie."""
    state, started = _look(pid)
    return Identity(pid, started) if started and state not in _DEAD else None


def identify_child(pid: int) -> Identity:
    """The same for a child not yet reaped, whose pid cannot be reused: a zombie still tells when it started."""
    return Identity(pid, _look(pid)[1])


def group_runs(group: int) -> bool:
    """Whether any process of this group still runs. Zombies do not count: who reaps them may take its time."""
    if _BOOT_ID.exists():
        return next(members(group), None) is not None
    with suppress(OSError):
        os.killpg(group, 0)
        return True
    return False


def parent(pid: int) -> int:
    """The process to which it belongs, 0 when there is no such process any more."""
    fields = _stat(str(pid))
    return int(fields[1]) if fields else 0


def members(group: int) -> Iterator[int]:
    """The processes of a group that run. None where there is no /proc."""
    for folder in _PROC.iterdir() if _PROC.is_dir() else ():
        if folder.name.isdigit():
            fields = _stat(folder.name)
            if fields and fields[2] == str(group) and fields[0] not in _DEAD:
                yield int(folder.name)


def _look(pid: int) -> tuple[str, str]:
    """(state letter, start), or two empty strings."""
    if not _BOOT_ID.exists():
        return _look_with_ps(pid)
    fields = _stat(str(pid))
    return (fields[0], f"{fields[19]}@{_boot()}") if fields else ("", "")


def _stat(pid: str) -> list[str]:
    """The fields of `/proc/PID/stat` from the third, the state, on. Empty when there is no such process."""
    try:
        text = (_PROC / pid / "stat").read_text(errors="replace")
    except OSError:
        return []
    # The command name, field 2, is in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()


@functools.cache
def _boot() -> str:
    return _BOOT_ID.read_text().strip()


def _look_with_ps(pid: int) -> tuple[str, str]:
    """For systems without /proc. `lstart` has a resolution of one second."""
    found = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C"},
    )  # fmt: skip
    state, _, started = found.stdout.strip().partition(" ")
    return state[:1], started.strip()
