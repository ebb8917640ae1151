"""The folder of one environment, `.skycap/NAME/` beside its file. `.skycap/` has a .gitignore of its own.

lock            held by the `skycap up` that runs, with its pid; the kernel lets go of it when that is killed
ports.json      the ports that were chosen, to choose them again
processes.json  what runs, to end it when `skycap up` was killed
registry.db     the registry's sandboxes
shadows/        the registry's shadows: their records and output
logs/           what services, sidecars and the registry wrote
restart.json    services that somebody wants started anew
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from controlplane.process.identity import Identity, decode_identity
from controlplane.process.private import private_folder, write_private
from proxy.base.problems import ConfigurationError

STATE = ".skycap"
"""The folder beside an environment's file that holds those of all environments there."""


class StateFolder:
    """Reads and writes that folder. Nothing but `lock` may be called without the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<StateFolder {self.path} {'unlocked' if self._lock is None else 'locked'}>"

    @property
    def database(self) -> Path:
        return self.path / "registry.db"

    @property
    def shadows(self) -> Path:
        return self.path / "shadows"

    def lock(self, name: str) -> None:
        """Make the folder and take it for this process.

        Raises ConfigurationError when the environment `name` is up already, or the folder cannot be used.
        """
        try:
            private_folder(self.path)
            self._keep_out_of_git()
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError([f"the state folder {self.path} cannot be used: {error.strerror}"]) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            message = f"the environment {name} is up already" + (f", process {holder}" if holder else "")
            raise ConfigurationError([f"{message}: stop that one first (its folder is {self.path})"]) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def _keep_out_of_git(self) -> None:
        """Logs and sandboxes hold secrets, and belong to one machine."""
        ignore = self.path.parent / ".gitignore"
        if self.path.parent.name == STATE and not ignore.exists():
            ignore.write_text("*\n")

    def unlock(self) -> None:
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def remembered_ports(self) -> dict[str, int]:
        ports = self._read("ports.json")
        return {name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 65536}

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        self._write("ports.json", ports)

    def processes(self) -> dict[str, Identity]:
        """What was written last, by name. Some or all of them may be gone."""
        found = {name: decode_identity(document) for name, document in self._read("processes.json").items()}
        return {name: identity for name, identity in found.items() if identity is not None}

    def write_processes(self, processes: Mapping[str, Identity]) -> None:
        self._write("processes.json", {name: identity.encode() for name, identity in processes.items()})

    def _read(self, name: str) -> dict[str, Any]:
        document: object = None
        with suppress(OSError, ValueError):
            document = json.loads((self.path / name).read_text())
        return document if isinstance(document, dict) else {}

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        write_private(self.path / name, json.dumps(document, indent=1))
