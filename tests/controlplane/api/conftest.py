from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from proxy.base.tasks import Tasks
from tests.controlplane.api.served import Served, Stream, served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import USERS

Watch = Callable[..., "Stream"]


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    """On loopback, without a token."""
    async with served() as one:
        yield one


@pytest.fixture
async def watch(api: Served) -> AsyncIterator[Watch]:
    """Begins to watch; every stream is closed at the end."""
    tasks = Tasks("streams")

    def begin(workload: str = USERS, sidecar: str = "", last: str = "") -> Stream:
        stream = Stream(api.client, workload, sidecar, last)
        tasks.spawn(stream.run(), f"watch {sidecar}")
        return stream

    yield begin
    await tasks.close()
    await eventually(lambda: len(api.registry.watchers) == 0)
