"""A registry served on a free port of loopback, with a launcher in memory."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy

from controlplane.api.access import Access, Reviewer, Role
from controlplane.api.application import application, runner
from controlplane.client import Client
from controlplane.files.store import FileStore
from controlplane.launch.port import Launcher
from controlplane.launch.static import Rules, StaticLauncher
from controlplane.life.clock import SystemClock
from controlplane.life.installation import Installation
from controlplane.life.registry import Registry, open_registry
from controlplane.model.sandbox import Network
from proxy.contract.watch import Event
from tests.controlplane.eventually import eventually
from tests.controlplane.life.launcher import Machine, MemoryLauncher
from tests.controlplane.life.store import TroubledStore

TOKENS = {role: f"correct-horse-battery-staple-{role.value}" for role in Role}
USER_TOKEN = TOKENS[Role.USER]
AUTHORIZED = {"authorization": f"Bearer {USER_TOKEN}"}


@dataclass
class Served:
    """url: of the registry; client: the typed one; http: a plain one, for what the typed one cannot say. Both have the
    token of a user.
    """

    url: str
    app: web.Application
    registry: Registry
    launcher: MemoryLauncher
    store: TroubledStore
    client: Client
    http: aiohttp.ClientSession

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def waited_for(self) -> bool:
        """A request waits for something to become true of a sandbox."""
        return "wait for" in repr(self.registry._around.tasks)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, CIMultiDictProxy[str]]:
        """(status, JSON body or None, headers)."""
        async with self.http.request(method, f"{self.url}{path}", **more) as answer:
            text = await answer.text()
            body = await answer.json(content_type=None) if text else None
            return answer.status, body, answer.headers


@asynccontextmanager
async def served(
    networks: Sequence[Network] = (),
    store: TroubledStore | None = None,
    machine: Machine | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    gateway: str = "http://localhost:7080",
    review: Reviewer | None = None,
) -> AsyncIterator[Served]:
    store = store or TroubledStore()
    launcher = MemoryLauncher(machine or Machine())
    static: Launcher = StaticLauncher(Rules(networks)) if networks else launcher
    installation = Installation({"static": static, "process": launcher}, gateway=gateway)
    files = FileStore(Path(tempfile.mkdtemp(prefix="skycap-files-")))
    registry = await open_registry(store, installation, SystemClock(), 3600, files)
    app = application(registry, Access(TOKENS, review))
    server = runner(app)
    await server.setup()
    site = web.TCPSite(server, host, port)
    await site.start()
    bound = server.addresses[0][1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    try:
        async with Client(url, USER_TOKEN) as client, aiohttp.ClientSession(headers=AUTHORIZED) as http:
            yield Served(url, app, registry, launcher, store, client, http)
    finally:
        launcher.let()
        if launcher.stop_gate is not None:
            launcher.stop_gate.set()
        await registry.close(stop_shadows=False)
        await server.cleanup()
        shutil.rmtree(files.folder, ignore_errors=True)


class Stream:
    """A route watch that is read in the background."""

    def __init__(self, client: Client, workload: str, sidecar: str = "", last: str = "") -> None:
        self.events: list[Event] = []
        self.keys: set[str] = set()
        self.ended = asyncio.Event()
        self._watch = client.watch(workload, sidecar, last)

    async def run(self) -> None:
        try:
            async for event in self._watch:
                if event.name == "keys":
                    told = json.loads(event.data)
                    self.keys = (self.keys | set(told.get("add", ()))) - set(told.get("remove", ()))
                else:
                    self.events.append(event)
        finally:
            self.ended.set()

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    @property
    def synced(self) -> bool:
        return "synced" in self.names

    @property
    def last(self) -> str:
        return self.events[-1].id

    @property
    def states(self) -> list[str]:
        """The state of every route that was told, in a snapshot or by itself."""
        told = [json.loads(event.data) for event in self.events if event.name in ("snapshot", "put")]
        return [route["state"] for one in told for route in one.get("routes", [one])]

    async def until(self, *names: str) -> list[Event]:
        """Wait until exactly these events have come after `synced`."""
        await eventually(lambda: self.synced and tuple(self.names[self.names.index("synced") + 1 :]) == names)
        return self.events[self.names.index("synced") + 1 :]
