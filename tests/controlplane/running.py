"""The registry as people run it: `python -m controlplane`, waited for, killed and ended by its pid."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from controlplane.client import Client
from proxy.base.access import SIDECAR, USER, local_token, token_folder

SAID = b"skycap controlplane listens on "


def environment(home: Path, **more: str) -> dict[str, str]:
    """Ours, without any SKYCAP_ variable, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    return kept | {"HOME": str(home), "XDG_STATE_HOME": "", "PYTHONUNBUFFERED": "1"} | more


class RegistryProcess:
    """One process. `url` is known once it listens; `environ` is what it was started with."""

    def __init__(self, process: Process, url: str, environ: Mapping[str, str]) -> None:
        self.process = process
        self.url = url
        self.environ = environ

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def token(self) -> str:
        """A user's, found as our own programs find it."""
        return local_token(self.url, USER, self.environ)

    @property
    def token_file(self) -> str:
        """For a sidecar that has another home."""
        return str(token_folder("127.0.0.1", self.port, self.environ) / SIDECAR)

    def client(self) -> Client:
        return Client(self.url, environ=self.environ)

    async def kill(self) -> None:
        """kill -9."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.communicate()

    async def end(self) -> tuple[int, str]:
        """SIGTERM; (exit code, what it said on standard error)."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        _, said = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


async def start(home: Path, *arguments: str, **environ: str) -> RegistryProcess:
    """A registry that listens. Raises AssertionError with what it said when it ends before."""
    env = environment(home, **environ)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane", *arguments, stdout=PIPE, stderr=PIPE, env=env
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.startswith(SAID):
        _, said = await process.communicate()
        raise AssertionError(f"the registry did not start: {line!r} {said.decode()}")
    return RegistryProcess(process, line.removeprefix(SAID).decode().strip(), env)


async def refused(home: Path, *arguments: str, **environ: str) -> tuple[int, list[str]]:
    """A registry that cannot start: (exit code, lines on standard error)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane", *arguments, stdout=PIPE, stderr=PIPE, env=environment(home, **environ)
    )
    said, wrong = await process.communicate()
    assert said == b""
    assert process.returncode is not None
    return process.returncode, wrong.decode().splitlines()
