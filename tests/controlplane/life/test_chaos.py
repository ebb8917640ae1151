"""Anything may happen at any time; two things must hold all the same.

* Nobody is led to a shadow that we have stopped: when one is stopped, no route leads to it, neither in what is
  published nor in what a sidecar was told.
* In the end exactly that runs which should: nothing is lost, nothing is left over.

The sequences are random, and the same for the same seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from controlplane.launch.port import LaunchError, LaunchRequest, Running
from controlplane.life.refusals import NotFound
from controlplane.model.sandbox import Phase
from controlplane.store.port import StoreError
from proxy.contract.routes import State
from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.launcher import Machine, MemoryLauncher
from tests.controlplane.life.registry import Bench, FakeSidecar
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import fork

NAMES = ("a", "b", "c")
WORKLOADS = ("shop/users", "shop/cart")
STEPS = 60


def _port(request: LaunchRequest) -> int:
    """That of the static fork, which tells one copy from another."""
    assert request.fork.endpoints
    return int(request.fork.endpoints[0].rpartition(":")[2])


class Chaos:
    """One random life of a registry and everything around it."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.chance = random.Random(seed)
        self.sidecars: list[FakeSidecar] = []
        self.wanted: dict[str, set[tuple[str, int]]] = {}
        self.stopped_too_early: list[str] = []
        self.failing_ports = {7, 8}

    async def run(self) -> None:
        await self._open()
        steps = [self._apply, self._apply, self._apply, self._delete, self._wait, self._wait, self._die]
        steps += [self._restart, self._trouble, self._reconnect]
        for _ in range(STEPS):
            await self.chance.choice(steps)()
            await self._breathe(self.chance.randrange(4))
        await self._come_to_rest()

    async def _open(self) -> None:
        await self.bench.open()
        self._watch_stops(self.bench.launcher)
        await self.bench.registry.sandboxes.adopted()
        self.bench.launcher.sweep()
        self.sidecars = [self.bench.sidecar(f"of-{workload}", workload) for workload in WORKLOADS]

    def _watch_stops(self, launcher: MemoryLauncher) -> None:
        stop, start = launcher.stop, launcher.start

        async def stopping(running: Running) -> None:
            request = self.bench.machine.live.get(running.handle["number"])
            if request is not None and self._led_to(request, running):
                self.stopped_too_early.append(f"{request.sandbox} {request.workload} r{request.revision}")
            await stop(running)

        async def starting(request: LaunchRequest) -> Running:
            port = _port(request)
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)
            if port in self.failing_ports:
                raise LaunchError(f"port {port} is cursed")
            return await start(request)

        launcher.stop = stopping  # type: ignore[method-assign]
        launcher.start = starting  # type: ignore[method-assign]

    def _led_to(self, request: LaunchRequest, running: Running) -> bool:
        """Somebody routes to exactly this copy: by what is published, or by what a sidecar has put to use."""
        published = self.bench.registry.published.lookup(request.workload, request.routing_key)
        known_routes = [published] + [
            sidecar.table.get(request.routing_key) for sidecar in self.sidecars if sidecar.workload == request.workload
        ]
        life = self.bench.registry.sandboxes._lives.get(request.sandbox)
        known = life.record.fork(request.workload) if life is not None else None
        serving = known.serving if known is not None else None
        # A copy that died and came back has the same revision: the record says which of them is meant.
        another = serving is not None and serving.revision == request.revision and serving.handle != running.handle
        return not another and any(
            route is not None and route.state is State.READY and route.revision == request.revision
            for route in known_routes
        )

    async def _apply(self) -> None:
        name = self.chance.choice(NAMES)
        workloads = self.chance.sample(WORKLOADS, self.chance.randint(1, len(WORKLOADS)))
        forks = [(workload, self.chance.randint(1, 8)) for workload in workloads]
        try:
            await self.bench.apply(name, *(fork(workload, port) for workload, port in forks))
        except StoreError:
            return
        self.wanted[name] = set(forks)

    async def _delete(self) -> None:
        name = self.chance.choice(NAMES)
        try:
            await self.bench.registry.sandboxes.delete(name)
        except (NotFound, StoreError):
            return
        self.wanted.pop(name, None)

    async def _wait(self) -> None:
        # Sidecars acknowledge more often than the registry's patience of five seconds ends.
        for _ in range(self.chance.choice([1, 1, 4])):
            self.bench.clock.advance(self.chance.choice([0.5, 1, 2, 4]))
            await self._breathe(1)

    async def _die(self) -> None:
        live = list(self.bench.machine.live.values())
        if live:
            victim = self.chance.choice(live)
            same = [one for one in live if (one.sandbox, one.workload) == (victim.sandbox, victim.workload)]
            if len(same) == 1:
                self.bench.machine.kill(victim.sandbox, victim.workload)

    async def _restart(self) -> None:
        if self.chance.random() < 0.5:
            await self.bench.kill()
        else:
            # With a full disk the end cannot tell anybody: that has a test of its own.
            self.bench.store.problem = None
            await self.bench.close(self.chance.random() < 0.5, self._acknowledge)
        await self._open()

    async def _trouble(self) -> None:
        free = self.bench.store.problem is not None
        self.bench.store.problem = None if free else StoreError("full", full=True)

    async def _reconnect(self) -> None:
        sidecar = self.chance.choice(self.sidecars)
        sidecar.disconnect()
        await self._breathe(1)
        self.sidecars.remove(sidecar)
        self.sidecars.append(self.bench.sidecar(sidecar.ident, sidecar.workload))

    async def _breathe(self, turns: int) -> None:
        for _ in range(turns * 5):
            await asyncio.sleep(0)
            self._acknowledge()

    def _acknowledge(self) -> None:
        for sidecar in self.sidecars:
            sidecar.acknowledge()

    async def _come_to_rest(self) -> None:
        self.bench.store.problem = None
        self.failing_ports = set()
        for _ in range(100):  # what is under way ends, so that the last word is not said in the middle of it
            self.bench.clock.advance(1)
            await self._breathe(4)
        for name, forks in self.wanted.items():
            await self.bench.apply(name, *(fork(workload, port) for workload, port in forks))
        for _ in range(400):
            self.bench.clock.advance(1)
            await self._breathe(4)
            if self._at_rest():
                return

    def _at_rest(self) -> bool:
        sandboxes = self.bench.registry.sandboxes.all()
        settled = all(one.status is not None and one.status.phase is Phase.READY for one in sandboxes)
        return settled and self._running() == self._expected()

    def _running(self) -> list[tuple[str, str, int]]:
        live = self.bench.machine.live.values()
        return sorted((one.sandbox, one.workload, _port(one)) for one in live)

    def _expected(self) -> list[tuple[str, str, int]]:
        return sorted((name, *one) for name, forks in self.wanted.items() for one in forks)

    def verify(self) -> None:
        assert self.stopped_too_early == []
        phases = {one.name: one.status.phase for one in self.bench.registry.sandboxes.all() if one.status}
        assert phases == dict.fromkeys(self.wanted, Phase.READY)
        assert self._running() == self._expected()
        for name, forks in self.wanted.items():
            for workload, port in forks:
                route = self.bench.registry.published.lookup(workload, name)
                assert route is not None
                assert (route.state, [str(one) for one in route.endpoints]) == (State.READY, [f"127.0.0.1:{port}"])
        assert len(self.bench.registry.published) == sum(map(len, self.wanted.values()))


@pytest.fixture
async def fresh(clock: FakeClock) -> AsyncIterator[Bench]:
    bench = Bench(clock, TroubledStore(), Machine())
    yield bench
    await bench.close()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens(fresh: Bench, seed: int) -> None:
    chaos = Chaos(fresh, seed)
    await chaos.run()
    chaos.verify()
