"""A route watch that is open while a test does something else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from controlplane.client import Client, RegistryError
from tests.faults.subject import DEADLINE_SECONDS


class Heard:
    """A watch's table so far.

    keys: of the routes that there are; ever: and of those that there were; ids: of all changes, in their order.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.ever: set[str] = set()
        self.ids: list[int] = []
        self.synced = asyncio.Event()
        self.ended = False


@contextlib.asynccontextmanager
async def watching(client: Client, workload: str) -> AsyncIterator[Heard]:
    heard = Heard()

    async def listen() -> None:
        async for event in client.watch(workload):
            data = json.loads(event.data)
            heard.ids.append(int(event.id))
            if event.name == "synced":
                heard.synced.set()
            elif event.name == "put":
                heard.keys.add(data["key"])
                heard.ever.add(data["key"])
            elif event.name == "delete":
                heard.keys.discard(data["key"])
        heard.ended = True

    listening = asyncio.get_running_loop().create_task(listen())
    try:
        await asyncio.wait_for(heard.synced.wait(), DEADLINE_SECONDS)  # an empty table
        yield heard
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError, RegistryError):
            await listening
