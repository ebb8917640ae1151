"""The registry and the sidecar's own feed: two halves of one contract, over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.api.access import Role
from controlplane.model.sandbox import Phase
from proxy.base.backoff import Backoff
from proxy.base.tasks import Tasks
from proxy.contract.routes import State
from proxy.feed.holder import FeedState
from proxy.feed.link import RegistryLink
from proxy.feed.registry import RegistryFeed
from proxy.routing.table import RouteTable
from tests.controlplane.api.served import TOKENS, Served, served
from tests.controlplane.eventually import eventually
from tests.controlplane.life.launcher import Machine
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import USERS, fork, sandbox


class Sidecar:
    """A table that a real feed keeps."""

    def __init__(self, url: str, folder: Path) -> None:
        self.table = RouteTable(USERS)
        self.state = FeedState(f"registry {url}", self.table)
        file = folder / "token"
        file.write_text(TOKENS[Role.SIDECAR])
        self.link = RegistryLink(url, "shop/users@test", token_file=file, backoff=Backoff(0.01, 0.05))
        self.feed = RegistryFeed(self.link, self.table, self.state)

    async def run(self) -> None:
        try:
            await self.feed.run()
        finally:
            await self.link.close()

    def leads(self, key: str) -> str:
        route = self.table.lookup(key)
        if route is None:
            return "baseline"
        return ",".join(map(str, route.endpoints)) if route.state is State.READY else route.state.value


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks("feeds")
    yield tasks
    await tasks.close()


async def phase(api: Served, name: str) -> Phase:
    found = (await api.client.wait(name, 10)).status
    assert found is not None
    return found.phase


async def test_the_life_of_a_sandbox_as_a_sidecar_sees_it(tasks: Tasks, tmp_path: Path) -> None:
    async with served() as api:
        sidecar = Sidecar(api.url, tmp_path)
        await sidecar.feed.start()
        tasks.spawn(sidecar.run(), "feed")
        await eventually(lambda: any(known.in_sync for known in api.registry.sidecars.all()))
        await api.client.apply(sandbox("a"))
        assert await phase(api, "a") is Phase.READY
        # Ready says that it is in force, at those who have spoken: no waiting here.
        assert sidecar.leads("a") == "127.0.0.1:9102"
        assert (await api.client.explain("a", USERS)).in_force
        await api.client.apply(sandbox("a", fork(port=2)))
        assert await phase(api, "a") is Phase.READY
        assert sidecar.leads("a") == "127.0.0.1:2"
        await api.client.delete("a", seconds=10)
        assert sidecar.leads("a") == "ended"
        (shown,) = await api.client.sidecars()
        assert (shown.id, shown.connected, shown.in_sync) == ("shop/users@test", True, True)
        await tasks.close()


async def test_a_sidecar_resumes_at_a_registry_that_came_back(tasks: Tasks, tmp_path: Path) -> None:
    store, machine = TroubledStore(), Machine()
    async with served(store=store, machine=machine) as api:
        sidecar = Sidecar(api.url, tmp_path)
        tasks.spawn(sidecar.run(), "feed")
        await eventually(lambda: any(known.in_sync for known in api.registry.sidecars.all()))
        await api.client.apply(sandbox("a"))
        await phase(api, "a")
        port = api.port
    assert sidecar.leads("a") == "127.0.0.1:9102"
    changes: list[int] = []
    sidecar.table.watchers.append(lambda: changes.append(1))
    async with served(store=store, machine=machine, port=port) as api:
        await eventually(lambda: [shown.in_sync for shown in api.registry.sidecars.all()] == [True])
        assert api.registry.watchers.resumed == 1
        assert api.registry.watchers.snapshots == 0
        assert changes == []
        assert sidecar.leads("a") == "127.0.0.1:9102"
        await api.client.apply(sandbox("a", fork(port=2)))
        assert await phase(api, "a") is Phase.READY
        assert sidecar.leads("a") == "127.0.0.1:2"
        await tasks.close()
