"""Who kills, and who changes sandboxes, all the time.

A sandbox moves to and fro between the two shadows. When the registry says that a revision is in force, or a sandbox
gone, the next answer must show it; a registry that was killed meanwhile may say so before the sidecars have come back
to it, and then the change has a time limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import ClientError, ClientSession

from controlplane.client import Client, RegistryError
from controlplane.model.sandbox import Phase
from tests.soak.exchanges import check
from tests.soak.expected import APPLICATION, ENDED, SERVERS, Failed, Key, Outages, Tally, Wrong, placed
from tests.soak.stage import Stage

PATIENCE_SECONDS = 30.0
"""For a registry that was killed to be back, and for a change to be in force."""

RETRY_SECONDS = 0.1
REVISIONS = 4
"""Of one life of a sandbox."""

_T = TypeVar("_T")


async def pause(over: asyncio.Event, seconds: float) -> bool:
    """So many seconds, or until it is over. Returns whether it is."""
    try:
        async with asyncio.timeout(seconds):
            return await over.wait()
    except TimeoutError:
        return False


class Trouble:
    """done: how often each kind came."""

    def __init__(self, stage: Stage, outages: Outages, tally: Tally, over: asyncio.Event) -> None:
        self.done: Counter[str] = Counter()
        self._stage = stage
        self._outages = outages
        self._tally = tally
        self._over = over
        self._registry_kills = 0

    async def kill_registry(self, every: float) -> None:
        """Kill it and start it again on the same store, so many seconds after it came back.

        For ten seconds after a restart it keeps what is deleted, for sidecars that are not back yet; sandboxes that
        are to live meanwhile need longer than that between two kills.
        """
        while not await pause(self._over, every):
            self._registry_kills += 1
            await self._stage.registry.kill()
            await self._stage.registry.start()
            self._registry_kills += 1
            self.done["registry killed"] += 1

    async def kill_servers(self, every: float) -> None:
        """Kill the application and the shadows by turns, each started again after a moment."""
        turn = 0
        while not await pause(self._over, every):
            name = SERVERS[turn % len(SERVERS)]
            turn += 1
            self._outages.killed(name)
            await self._stage.servers[name].kill()
            await pause(self._over, 0.3)
            await self._stage.servers[name].start()
            await self._seen(name)
            self._outages.back(name)
            self.done["servers killed"] += 1

    async def _seen(self, name: str) -> None:
        """That nobody takes the server for failed any more: the registry finds out at its own pace that it is back."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._over.is_set():
            routes = (await self._stage.callee.page("/routes"))["routes"]
            failed = [route["key"] for route in routes if route["state"] == "failed"]
            if not failed:
                return
            if time.monotonic() > deadline:
                self._tally.note("outage", Key(name, ()), Wrong(f"it is back, and the shadows of {failed} are not"))
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def change_sandbox(self, name: str) -> None:
        """One sandbox's lives: created, moved, deleted, and again."""
        try:
            await self._change_sandbox(name)
        except RegistryError as refused:
            self._tally.note("sandbox", Key(name, ()), refused)

    async def _change_sandbox(self, name: str) -> None:
        key = Key(name, SERVERS)
        async with Client(self._stage.registry_url) as client, ClientSession() as session:
            while not self._over.is_set():
                for revision in range(1, REVISIONS + 1):
                    kills, before = self._registry_kills, self._outages.now()
                    await self._apply(client, name, revision)
                    await self._in_force(session, key, f"sandbox={name};rev={revision}", kills, before)
                    self.done["sandboxes changed"] += 1
                    await pause(self._over, 0.2)
                kills, before = self._registry_kills, self._outages.now()
                await self._delete(client, name)
                await self._in_force(session, key, ENDED, kills, before)
                self.done["sandboxes changed"] += 1

    async def _apply(self, client: Client, name: str, revision: int) -> None:
        """Return when the registry says that the revision is in force."""
        document = self._stage.sandbox(name, placed(revision))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            # Again after a kill: what was answered is stored, what was not may not be.
            await self._persist(lambda: client.apply(document))
            settled = await self._persist(lambda: client.wait(name, 5))
            status = settled.status
            if status is not None and status.phase is Phase.READY and status.revision == revision:
                return
            if time.monotonic() > deadline:
                self._tally.note("sandbox", Key(name, ()), Wrong(f"not ready in revision {revision}: {status}"))
                return

    async def _delete(self, client: Client, name: str) -> None:
        """A registry that was killed may have done it, and not have said so: then there is nothing of that name."""
        kills = self._registry_kills
        try:
            await self._persist(lambda: client.delete(name, 10))
        except RegistryError as error:
            if error.status != 404 or self._registry_kills == kills:
                raise

    async def _persist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What the registry answers, as soon as there is one. Raises RegistryError when it refuses."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await call()
            except RegistryError as error:
                if 400 <= error.status < 500 or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _in_force(
        self, session: ClientSession, key: Key, wanted: str, kills: int, before: dict[str, int]
    ) -> None:
        """That the next request shows it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            why = await self._shown(session, key, wanted)
            excused = self._registry_kills != kills or self._outages.since(before, (*SERVERS, APPLICATION))
            if not why:
                return
            if not excused or time.monotonic() > deadline:
                self._tally.note("sandbox", key, Wrong(f"{wanted} is said to be in force, and {why}"))
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _shown(self, session: ClientSession, key: Key, wanted: str) -> str:
        """What is shown instead, "" when it is right."""
        url = f"http://127.0.0.1:{self._stage.caller.outbound}/who"
        try:
            async with session.get(url, headers=key.headers) as answer:
                served = answer.headers.get("skycap-served-by", "")
                if wanted == ENDED:
                    served = f"{served};{answer.headers.get('skycap-error', '')}"
                else:
                    check(key, answer)
        except (Failed, Wrong, ClientError, OSError) as error:
            return repr(error)
        return "" if served.endswith(f";{wanted}") else f"the answer is by {served!r}"
