"""A registry on a fake clock, a launcher in memory and a store that can fail, with sidecars made of lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from controlplane.files.store import FileStore
from controlplane.life.installation import Installation
from controlplane.life.registry import Registry, open_registry
from controlplane.life.watchers import Watcher
from controlplane.model.sandbox import Phase, Sandbox, Status
from proxy.base.tasks import Tasks
from proxy.contract.routes import Route, decode_route
from proxy.contract.watch import EventParser
from tests.controlplane.eventually import eventually
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.launcher import Machine, MemoryLauncher
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import USERS, sandbox

DEFAULT_TTL = 3600

_T = TypeVar("_T")


class Wire:
    """The transport of a watcher: keeps what is written, as a reader that is slow or not."""

    def __init__(self) -> None:
        self.data = b""
        self.unread = 0
        self.closed = False
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.data += data

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.closed = True


class FakeSidecar:
    """Watches one workload, and puts to use what it was told when a test says so.

    table: what it routes by; keys: that sandboxes have, as it was told since it connected.
    """

    def __init__(self, bench: Bench, ident: str, workload: str) -> None:
        self.ident = ident
        self.workload = workload
        self.wire = Wire()
        self.table: dict[str, Route] = {}
        self.keys: set[str] = set()
        self._bench = bench
        self._watcher = Watcher(workload, ident, self.wire)
        self._parser = EventParser()
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._applied = 0

    def connect(self) -> None:
        """As one that has got a snapshot."""
        published = self._bench.registry.published
        self.table = {key: route for key, (route, _) in published._tables.get(self.workload, {}).items()}
        self._watcher.sent = published.revision
        self._bench.registry.watchers.add(self._watcher)
        self._bench.registry.sidecars.connected(self._watcher, 0)

    def disconnect(self) -> None:
        self.wire.closed = True
        self._bench.registry.watchers.remove(self._watcher)
        self._bench.registry.sidecars.disconnected(self._watcher)

    def acknowledge(self) -> None:
        """Put to use all that was told, and say so."""
        events = self.events()
        for name, data in events[self._applied :]:
            if name == "put":
                route = decode_route(data, lenient=True)
                self.table[route.key] = route
            else:
                self.table.pop(data["key"], None)
        self._applied = len(events)
        self._bench.registry.sidecars.reported(self.ident, self.workload, self._watcher.sent)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """(name, data) of all that was told so far, the framing removed."""
        rest, self.wire.data = self.wire.data, b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found = self._parser.feed(rest[: int(size, 16)])
            self._events += [(event.name, json.loads(event.data)) for event in found if event.name != "keys"]
            for event in found:
                if event.name == "keys":
                    told = json.loads(event.data)
                    self.keys = (self.keys | set(told.get("add", ()))) - set(told.get("remove", ()))
            rest = rest[int(size, 16) + 2 :]
        return self._events

    def states(self) -> list[str]:
        """`STATE rREVISION` of every put, `gone` of every delete."""
        return [f"{data['state']} r{data['revision']}" if name == "put" else "gone" for name, data in self.events()]


NOWHERE = Path("/nonexistent/files")
"""No test of a sandbox's life pushes files."""


class Bench:
    """clock, machine and store outlive the registry, which can be killed and opened again."""

    def __init__(self, clock: FakeClock, store: TroubledStore, machine: Machine) -> None:
        self.clock = clock
        self.store = store
        self.machine = machine
        self.launcher = MemoryLauncher(machine)
        self._registry: Registry | None = None
        self._begun = Tasks("test")

    @property
    def registry(self) -> Registry:
        assert self._registry is not None
        return self._registry

    @property
    def tasks(self) -> Tasks:
        return self.registry._around.tasks

    def begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Something that the test does while it does something else."""
        return self._begun.begin(work, "test")

    async def open(self, without: str = "") -> None:
        """without: a launcher that the installation has no more."""
        self.launcher = MemoryLauncher(self.machine)
        there = {"static": self.launcher, "process": self.launcher}
        installation = Installation({name: launcher for name, launcher in there.items() if name != without})
        self._registry = await open_registry(self.store, installation, self.clock, DEFAULT_TTL, FileStore(NOWHERE))

    async def kill(self) -> None:
        """As kill -9 leaves it: what runs goes on, nothing is written any more."""
        await self.tasks.close()
        self.machine.deaths.clear()
        self._registry = None

    async def close(self, stop_shadows: bool = False, meanwhile: Callable[[], object] = bool) -> None:
        if self._registry is None:
            return
        closing = self.begin(self.registry.close(stop_shadows))
        while not closing.done():
            meanwhile()
            await asyncio.sleep(0)
            self.clock.advance(0.01)
        await closing
        assert len(self.tasks) == 0, repr(self.tasks)
        self._registry = None

    def sidecar(self, ident: str = "sidecar-1", workload: str = USERS) -> FakeSidecar:
        """A sidecar that has its table."""
        sidecar = FakeSidecar(self, ident, workload)
        sidecar.connect()
        sidecar.acknowledge()
        return sidecar

    async def apply(self, name: str = "a", *forks: dict[str, Any], **spec: Any) -> Sandbox:
        applied, _ = await self.registry.sandboxes.apply(sandbox(name, *forks, **spec))
        return applied

    def status(self, name: str = "a") -> Status:
        found = self.registry.sandboxes.get(name).status
        assert found is not None
        return found

    def phase(self, name: str = "a") -> Phase:
        return self.status(name).phase

    async def until(self, phase: Phase, name: str = "a", revision: int | None = None) -> Status:
        def reached() -> bool:
            status = self.status(name)
            return status.phase is phase and revision in (None, status.revision)

        await eventually(reached)
        return self.status(name)

    async def ready(self, name: str = "a", revision: int | None = None) -> Status:
        return await self.until(Phase.READY, name, revision)

    async def runs(self, *expected: str) -> None:
        """Wait until exactly this runs."""
        await eventually(lambda: self.machine.running() == sorted(expected))

    def gone(self, name: str = "a") -> bool:
        return name not in [one.name for one in self.registry.sandboxes.all()]
