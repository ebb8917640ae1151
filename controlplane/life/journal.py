"""The one way in which the registry's state changes: decided, stored, applied, told. In this order.

* Nothing is told before it is stored: a restart never takes back what somebody has seen.
* Nothing is applied before it is stored: when the disk is full, nothing has happened.
* Changes are ordered: ids of events are given out here and nowhere else.

Changes that arrive while the store is busy are stored together, in one transaction: a hundred agents that
create sandboxes at once wait for a few flushes of the disk, not for a hundred.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.life.published import PublishedRoutes
from controlplane.life.watchers import Watchers
from controlplane.model.record import Record
from controlplane.model.routes import RouteChange
from controlplane.model.workload import Workload
from controlplane.store.port import Batch, RouteEvent, Store, StoreError
from proxy.base.tasks import Tasks

MAX_TOGETHER = 256
"""Changes in one transaction: keeps the wait of the first one short."""


@dataclass(frozen=True, slots=True)
class Change:
    """What shall become true together.

    applied: called with the change's events the moment it is stored, before anybody else runs.
    """

    applied: Callable[[Sequence[RouteEvent]], None]
    sandboxes: Mapping[str, Record | None] = field(default_factory=dict)
    workloads: Mapping[str, Workload | None] = field(default_factory=dict)
    routes: Sequence[RouteChange] = ()


class Journal:
    """Stores, applies and tells changes, one after the other."""

    def __init__(self, store: Store, published: PublishedRoutes, watchers: Watchers, tasks: Tasks) -> None:
        self._store = store
        self._published = published
        self._watchers = watchers
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._more = asyncio.Event()
        self._closing = False
        self.writes = 0
        self.failures = 0
        self._writer = tasks.spawn(self._run(), "journal")

    def __repr__(self) -> str:
        return f"<Journal {self.writes} writes, {self.failures} failed, {len(self._waiting)} waiting>"

    async def commit(self, change: Change) -> None:
        """Returns when the change is stored, applied and told. Raises StoreError when nothing has changed.

        Cancelling the caller does not take the change back: `applied` says whether it happened.
        """
        if self._closing:
            raise StoreError("the registry is shutting down: nothing was changed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        self._more.set()
        await done

    async def close(self) -> None:
        """Write what is waiting, then end."""
        self._closing = True
        self._more.set()
        await asyncio.wait({self._writer})

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
            together, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            if together:
                await self._commit(together)

    async def _commit(self, together: list[tuple[Change, asyncio.Future[None]]]) -> None:
        sandboxes: dict[str, Record | None] = {}
        workloads: dict[str, Workload | None] = {}
        events: list[RouteEvent] = []
        of_change: list[list[RouteEvent]] = []
        for change, _ in together:
            sandboxes.update(change.sandboxes)
            workloads.update(change.workloads)
            of_change.append(self._published.events_of(change.routes, self._published.revision + len(events)))
            events += of_change[-1]
        try:
            await self._store.write(Batch(sandboxes, workloads, events))
        except StoreError as error:
            self.failures += 1
            for _, done in together:
                if not done.done():
                    done.set_exception(StoreError(str(error), error.full))
            return
        self.writes += 1
        for (change, _), made in zip(together, of_change, strict=True):
            self._published.apply(change.routes, made)
            change.applied(made)
        self._watchers.tell(events)
        for _, done in together:
            if not done.done():
                done.set_result(None)
