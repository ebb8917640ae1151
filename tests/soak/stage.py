"""The processes of a soak: registry, two sidecars, an application and two shadows, on free loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from controlplane.client import Client, RegistryError
from tests.acceptance.running import ROOT, accepts, free_port, stop
from tests.faults import subject
from tests.faults.subject import WORKLOAD, Subject
from tests.soak.expected import APPLICATION, SERVERS, SHADOW_A, STABLE

SHORT = (
    "--idle-timeout", "3s", "--header-timeout", "15s", "--response-timeout", "15s", "--stream-timeout", "15s",
    "--linger-timeout", "1s", "--connect-timeout", "15s", "--drain-timeout", "5s", "--log-level", "warning",
)  # fmt: skip
"""Idle connections end all the time. What limits an answer is long, for the application has no processor for seconds
where others want it, and less than the time of a piece of work, so that it is the sidecar who says what is late."""

READY_SECONDS = 20.0
START_SECONDS = 90.0
"""For a process that starts while everything else is at work, on a machine that others use too."""

NOISE = ("Traceback", "Task was destroyed", "never retrieved", "never awaited")
"""What no log may say."""


class Program:
    """A process that may be killed and started again. log: what it said, all its lives long."""

    def __init__(self, port: int, log: Path, *arguments: str) -> None:
        self.port = port
        self.log = log
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        with self.log.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, cwd=ROOT, stdout=said, stderr=said
            )
        await accepts(self.port, self._process, START_SECONDS)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """Its exit code, after it was asked to end."""
        return await stop(self._process) if self._process is not None else 0


class Stage:
    """All of it, running. forward: the caller's forward proxy; store: the registry's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "registry.db"
        port = free_port()
        self.registry_url = f"http://127.0.0.1:{port}"
        self.registry = Program(
            port, folder / "registry.log", "-m", "controlplane", "--listen", f"127.0.0.1:{port}",
            "--store", str(self.store), "--state-dir", str(folder / "state"), "--log-level", "warning",
        )  # fmt: skip
        self.servers = {name: self._server(name) for name in SERVERS}
        self.forward = free_port()
        self.caller: Subject
        self.callee: Subject

    def _server(self, name: str) -> Program:
        port = free_port()
        return Program(port, self.folder / f"{name}.log", "-m", "tests.soak.application", name, str(port))

    @property
    def sidecars(self) -> dict[str, Subject]:
        return {"caller": self.caller, "callee": self.callee}

    def sandbox(self, name: str, server: str) -> dict[str, Any]:
        """The document of a sandbox whose shadow is `server`."""
        fork = {"workload": WORKLOAD, "endpoints": [f"127.0.0.1:{self.servers[server].port}"]}
        return {
            "apiVersion": "skycap.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name},
            "spec": {"forks": [fork]},
        }

    def ended(self) -> dict[str, int]:
        """The sidecars that have, which none should, and their exit codes."""
        codes = {name: sidecar.process.poll() for name, sidecar in self.sidecars.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def noise(self) -> list[str]:
        """Lines of logs that should not be there."""
        logs = [("caller", self.caller.log), ("callee", self.callee.log), ("registry", self.registry.log.read_text())]
        return [f"{name}: {line}" for name, log in logs for line in log.splitlines() if any(n in line for n in NOISE)]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Stage]:
    """Everything started and in sync when entered; everything ended when left."""
    stage = Stage(folder)
    source = ("--registry", stage.registry_url)
    async with contextlib.AsyncExitStack() as stack:
        for program in (stage.registry, *stage.servers.values()):
            stack.push_async_callback(program.kill)
            await program.start()
        application = stage.servers[APPLICATION].port
        stage.callee = stack.enter_context(subject.running(application, folder, *source, *SHORT))
        stage.caller = stack.enter_context(
            subject.running(
                stage.callee.inbound, folder, *source, *SHORT, "--workload", "shop/frontend",
                "--outbound", f"127.0.0.1:{stage.forward}",
            )
        )  # fmt: skip
        async with Client(stage.registry_url) as client:
            await client.apply(stage.sandbox(STABLE, SHADOW_A))
            await client.wait(STABLE, READY_SECONDS)
        for sidecar in stage.sidecars.values():
            await sidecar.reaches(1, "skycap_routes_synced", within=READY_SECONDS)
        await stage.callee.reaches(1, "skycap_routes", within=READY_SECONDS)
        yield stage
        with contextlib.suppress(RegistryError):
            await stage.registry.stop()
