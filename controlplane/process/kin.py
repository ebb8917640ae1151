"""What a process has started and what has left its group since: a session of its own, a parent that has ended.

A daemon does so on purpose, and then neither its parent nor its group leads to it. What it keeps is the environment
that it was started with, so a mark stands there (`environ` in proc(5)): each process that we start has one of its own,
and whatever comes of it inherits that. A program that clears its environment is not found; nor is any where there is
no /proc.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from controlplane.process.identity import Identity, identify

MARK = "SKYCAP_PROCESS"
"""The variable that holds the mark."""

_PROC = Path("/proc")
_ROUNDS = 10
"""A process that forks all the time is met again in each of them, and stopped forking in the one before."""


def kin(mark: str, *, below: bool = False) -> Iterator[Identity]:
    """The processes that run with this mark. below: or with one that begins with it. None for an empty mark."""
    sought = f"{MARK}={mark}".encode()
    for folder in _PROC.iterdir() if mark and _PROC.is_dir() else ():
        if folder.name.isdigit():
            with suppress(OSError):
                variables = (folder / "environ").read_bytes().split(b"\0")
                if any(each.startswith(sought) and (below or each == sought) for each in variables):
                    found = identify(int(folder.name))
                    if found is not None:
                        yield found


def kill_kin(mark: str) -> None:
    """SIGKILL all of them, those included that are being made meanwhile."""
    killed: list[Identity] = []
    for _ in range(_ROUNDS):
        fresh = [each for each in kin(mark) if each not in killed]
        if not fresh:
            break
        for each in fresh:
            send(each, signal.SIGKILL)
        killed += fresh


def send(process: Identity, number: signal.Signals) -> None:
    """A signal to this very process, if it still runs."""
    with suppress(ProcessLookupError, PermissionError):
        if process.alive():
            os.kill(process.pid, number)
