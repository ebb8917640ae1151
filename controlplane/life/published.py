"""What the sidecars have been told: the table of every workload, and the changes that led to it.

A route is encoded once, when it changes. A snapshot is put together from those texts, so that 500 sidecars that
all reconnect after a restart cost the joining of strings and no JSON.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Set

from controlplane.model.routes import RouteChange, RouteEvent
from controlplane.store.port import KEPT_EVENTS
from proxy.contract.routes import Route, encode_route
from proxy.contract.watch import DELETE, PUT, SNAPSHOT, SNAPSHOT_ROUTES, SYNCED, Event, encode_event

MAX_PIECE_BYTES = 256 * 1024
"""Of the routes in one piece of a snapshot: 200 of the largest legal ones, with 64 long names each, are 3 MB."""


class PublishedRoutes:
    """All tables at one revision.

    revision: the id of the newest change.
    floor:    changes above this id can still be told one by one.
    """

    def __init__(self, revision: int, floor: int, kept_events: int = KEPT_EVENTS) -> None:
        self.revision = revision
        self.floor = floor
        self._kept = kept_events
        self._tables: dict[str, dict[str, tuple[Route, str]]] = {}
        self._log: deque[RouteEvent] = deque()
        self._by_workload: dict[str, deque[RouteEvent]] = {}

    def __repr__(self) -> str:
        return f"<PublishedRoutes revision {self.revision}, {len(self)} routes, {len(self._log)} changes kept>"

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def restore(self, routes: Iterable[Route], events: Iterable[RouteEvent]) -> None:
        """What the store held: the tables as they are, and the changes that led to them."""
        for route in routes:
            self._tables.setdefault(route.workload, {})[route.key] = (route, _text(encode_route(route)))
        for event in events:
            self._remember(event)

    def lookup(self, workload: str, key: str) -> Route | None:
        found = self._tables.get(workload, {}).get(key)
        return found[0] if found else None

    def workloads(self) -> Set[str]:
        """Those that some route replaces."""
        return self._tables.keys()

    def events_of(self, changes: Iterable[RouteChange], after: int) -> list[RouteEvent]:
        """The changes as events with ids from `after` + 1. Nothing is changed yet."""
        events = []
        for ident, change in enumerate(changes, after + 1):
            if change.route is None:
                name, data = DELETE, _text({"workload": change.workload, "key": change.key})
            else:
                name, data = PUT, _text(encode_route(change.route))
            events.append(RouteEvent(ident, change.workload, change.key, name, data))
        return events

    def apply(self, changes: Iterable[RouteChange], events: Iterable[RouteEvent]) -> None:
        """Take over changes, each with the event that `events_of` made of it."""
        for change, event in zip(changes, events, strict=True):
            table = self._tables.setdefault(change.workload, {})
            if change.route is None:
                table.pop(change.key, None)
                if not table:
                    del self._tables[change.workload]
            else:
                table[change.key] = (change.route, event.data)
            self._remember(event)
            self.revision = event.id

    def since(self, workload: str, after: int) -> list[RouteEvent] | None:
        """The changes of one workload above the id `after`, or None when they are not all known."""
        if not self.floor <= after <= self.revision:
            return None
        missed: list[RouteEvent] = []
        for event in reversed(self._by_workload.get(workload, ())):
            if event.id <= after:
                break
            missed.append(event)
        return missed[::-1]

    def snapshot(self, workload: str) -> Iterator[bytes]:
        """The table of one workload as it is now, in pieces, each of them one event of the watch."""
        texts = [text for _, text in self._tables.get(workload, {}).values()]
        return _pieces(texts, str(self.revision))

    def _remember(self, event: RouteEvent) -> None:
        self._log.append(event)
        self._by_workload.setdefault(event.workload, deque()).append(event)
        if len(self._log) > self._kept:
            oldest = self._log.popleft()
            self.floor = oldest.id
            of_workload = self._by_workload[oldest.workload]
            of_workload.popleft()
            if not of_workload:
                del self._by_workload[oldest.workload]


def encoded(event: RouteEvent) -> bytes:
    """A change as the watch writes it."""
    return encode_event(Event(event.name, event.data, str(event.id)))


def synced(revision: int) -> bytes:
    """The end of a snapshot, or of the changes that were missed."""
    return encode_event(Event(SYNCED, "{}", str(revision)))


def _pieces(texts: list[str], ident: str) -> Iterator[bytes]:
    piece: list[str] = []
    size = 0
    for text in texts:
        if len(piece) == SNAPSHOT_ROUTES or (piece and size + len(text) > MAX_PIECE_BYTES):
            yield _piece(piece, ident)
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    yield _piece(piece, ident)


def _piece(texts: list[str], ident: str) -> bytes:
    return encode_event(Event(SNAPSHOT, f'{{"routes":[{",".join(texts)}]}}', ident))


def _text(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))
