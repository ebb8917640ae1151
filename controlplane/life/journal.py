"""The one way in which the registry's state changes: decided, stored, applied, told. In this order.

A change concerns one object, and brings the changes of routes that follow from it.

* Nothing is told before it is stored: a restart never takes back what somebody has seen.
* Nothing is applied before it is stored: when the disk is full, nothing has happened.
* Changes are ordered: ids of events are given out here and nowhere else.

Changes that arrive while the store is busy are given to it together: a hundred agents that create sandboxes at
once wait for a few flushes of the disk, not for a hundred.

A fault of our own, of the store's or of whoever applies a change, fails the changes it meets, is logged, and is told
by `/ready` (`Journal.trouble`); the next change is tried like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.life.published import PublishedRoutes
from controlplane.life.watchers import Watchers
from controlplane.model.routes import RouteChange, RouteEvent
from controlplane.store.port import Document, Entry, Kind, Store, StoreError
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

MAX_TOGETHER = 256
"""Changes that the store gets at once: keeps the wait of the first one short."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object that shall become another.

    document: None means: it is forgotten.
    applied:  called with the change's events the moment it is stored, before anybody else runs.
    """

    kind: Kind
    name: str
    document: Document | None
    applied: Callable[[Sequence[RouteEvent]], None]
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
        self._unstored = ""
        self._unapplied = ""
        self._writer = tasks.keep(self._run, "journal")

    def __repr__(self) -> str:
        return f"<Journal {self.writes} writes, {self.failures} failed, {len(self._waiting)} waiting>"

    @property
    def trouble(self) -> str:
        """Why changes fail that should not, in one sentence; "" while all is well.

        A fault of the store is over with the next write that succeeds. A change that is stored and could not be put
        to use leaves us and the store apart until the registry is started again. A full disk is no fault.
        """
        return self._unapplied or self._unstored

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
        entries: list[Entry] = []
        revision = self._published.revision
        for change, _ in together:
            events = self._published.events_of(change.routes, revision)
            revision += len(events)
            entries.append(Entry(change.kind, change.name, change.document, events))
        told: list[RouteEvent] = []
        outcomes = await self._stored(entries)
        for (change, done), entry, problem in zip(together, entries, outcomes, strict=True):
            problem = problem or self._applied(change, entry.events, told)
            if done.done():
                continue
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(StoreError(str(problem), problem.full))  # one of its own: each gets a traceback
        self._tell(told)

    async def _stored(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        try:
            outcomes = await self._store.write(entries)
        except Exception as error:
            log.exception("the store has a fault")
            self._unstored = _sentence("the store has a fault", error)
            outcomes = [StoreError(self._unstored)] * len(entries)
        else:
            self._unstored = ""
        self.writes += None in outcomes
        self.failures += None not in outcomes
        return outcomes

    def _applied(self, change: Change, events: Sequence[RouteEvent], told: list[RouteEvent]) -> StoreError | None:
        try:
            self._published.apply(change.routes, events)
            told += events
            change.applied(events)
        except Exception as error:
            what = f"{change.kind} {change.name} is stored and could not be put to use"
            log.exception(what)
            self._unapplied = _sentence(what, error)
            return StoreError(self._unapplied)
        return None

    def _tell(self, events: Sequence[RouteEvent]) -> None:
        try:
            self._watchers.tell(events, self._published.key_events())
        except Exception:
            # Who has heard it and who has not? All of them ask again from what they have applied.
            log.exception("sidecars could not be told: their streams are cut, they resume")
            self._watchers.close()


def _sentence(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}: {error}"
