"""An environment that runs in another process: found by its folder, and asked through it.

Whoever holds the lock of a state folder runs its environment. It is asked by a signal: SIGTERM to stop, SIGUSR1 to look
into `restart.json` for services to start anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from controlplane.local.document import read_file
from controlplane.local.state import STATE, StateFolder
from controlplane.process.identity import identify
from proxy.base.problems import ConfigurationError

POLL_SECONDS = 0.05
RESTART = "restart.json"


class RunningEnvironment:
    """pid: of the `skycap up` that holds the folder at `path`."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        self.pid = pid

    def __repr__(self) -> str:
        return f"<RunningEnvironment {self.path} {self.pid}>"

    @property
    def name(self) -> str:
        return self.path.name

    def stop(self, seconds: float) -> bool:
        """Ask it to stop; whether it has, within that time."""
        process = identify(self.pid)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return _becomes(lambda: holder(self.path) is None and (process is None or not process.alive()), seconds)

    def restart(self, service: str, seconds: float) -> bool:
        """Ask it to start one service anew; whether another process of it runs, within that time."""
        before = StateFolder(self.path).processes().get(service)
        ask_restart(self.path, service)
        os.kill(self.pid, signal.SIGUSR1)
        return _becomes(lambda: StateFolder(self.path).processes().get(service) not in (before, None), seconds)

    def services(self) -> list[str]:
        """Whose processes run, sidecars and the registry not counted."""
        return [name for name in StateFolder(self.path).processes() if "/" not in name and name != "registry"]


def ask_restart(folder: Path, service: str) -> None:
    (folder / RESTART).write_text(json.dumps([*asked_restarts(folder), service]))


def asked_restarts(folder: Path) -> list[str]:
    """The services that somebody wants started anew; asking is over then."""
    asked: object = None
    with suppress(OSError, ValueError):
        asked = json.loads((folder / RESTART).read_text())
    with suppress(OSError):
        (folder / RESTART).unlink()
    return [name for name in asked if isinstance(name, str)] if isinstance(asked, list) else []


def holder(path: Path) -> int | None:
    """Who runs the environment of this folder; None when nobody does."""
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        text = os.read(lock, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(lock)
    return None


def state_folder(file: Path | None, state_dir: Path | None) -> Path:
    """The folder of the environment of `file`, or of the one that runs here or above. Raises ConfigurationError."""
    if state_dir is not None:
        return state_dir.absolute()
    if file is not None:
        return (file.parent / STATE / read_file(file).name).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = [path for path in sorted((folder / STATE).glob("*")) if holder(path) is not None]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise ConfigurationError([f"several environments are up here: {names}: say the FILE of one"])
    raise ConfigurationError(["no environment is up here: say its FILE, or start one with `skycap up FILE`"])


def _becomes(check: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
