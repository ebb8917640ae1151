"""What a process has started and what has left its group since: a session of its own, a parent that has ended.

A daemon does so on purpose, and then neither its parent nor its group leads to it. What it keeps is the environment
that it was started with, so a mark stands there (`environ` in proc(5)): each process that we start has one of its own,
and whatever comes of it inherits that. A program that clears its environment is not found by it; nor is any where there
is no /proc. What comes of an application that has a keeper (`controlplane.process.keeper`) is found by its parents.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from controlplane.process.identity import Identity, identify, parent

MARK = "SKYCAP_PROCESS"
"""The variable that holds the mark."""

_PROC = Path("/proc")
_ROUNDS = 10
"""A process that forks all the time is met again in each of them, and stopped forking in the one before."""


def kin(mark: str, *, below: bool = False) -> list[Identity]:
    """The processes that run with this mark. below: or with one that begins with it. None for an empty mark."""
    sought = f"{MARK}={mark}".encode()
    found: dict[Identity, None] = {}
    for _ in range(_ROUNDS if mark else 0):
        met, whole = _look(sought, below=below)
        found |= dict.fromkeys(met)
        if whole:
            break
    return [each for each in found if each.alive()]


def _look(sought: bytes, *, below: bool) -> tuple[list[Identity], bool]:
    """One look at every process; whether none ended meanwhile, which may have forked one that the list has not."""
    met, whole = [], True
    for folder in _PROC.iterdir() if _PROC.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except PermissionError:
            continue  # somebody else's
        except OSError:
            whole = False
            continue
        if any(each.startswith(sought) and (below or each == sought) for each in variables):
            identity = identify(int(folder.name))
            if identity is None:
                whole = False
            else:
                met.append(identity)
    return met, whole


def kill_kin(mark: str) -> None:
    """SIGKILL all of them, those included that are being made meanwhile."""
    killed: set[Identity] = set()
    for _ in range(_ROUNDS):
        fresh = set(kin(mark)) - killed
        if not fresh:
            break
        for each in fresh:
            send(each, signal.SIGKILL)
        killed |= fresh


def send(process: Identity, number: signal.Signals) -> None:
    """A signal to this very process, if it still runs."""
    with suppress(ProcessLookupError, PermissionError):
        if process.alive():
            os.kill(process.pid, number)


def kill_tree(root: Identity) -> None:
    """SIGKILL all descendants of a process that takes in those whose parent has ended; not the process itself."""
    for _ in range(_ROUNDS):
        found = _descendants(root.pid)
        if not found or not root.alive():
            break
        for each in found:
            send(each, signal.SIGKILL)


def _descendants(pid: int) -> list[Identity]:
    parents = {int(folder.name): parent(int(folder.name)) for folder in _PROC.iterdir() if folder.name.isdigit()}
    found: dict[int, None] = {}
    level = {pid}
    while level:
        level = {each for each, above in parents.items() if above in level and each not in found}
        found |= dict.fromkeys(level)
    return [identity for each in found if (identity := identify(each)) is not None]
