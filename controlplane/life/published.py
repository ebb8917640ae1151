"""What the sidecars have been told: the table of every workload, and the changes that led to it.

A route is encoded once, when it changes. A snapshot is put together from those texts, so that 500 sidecars that
all reconnect after a restart cost the joining of strings and no JSON.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from controlplane.model.routes import RouteChange, RouteEvent
from controlplane.store.port import KEPT_EVENTS
from proxy.contract.previews import PREVIEWS
from proxy.contract.routes import Route, State, encode_route, encode_tombstone
from proxy.contract.watch import (
    CAPTURE,
    DELETE,
    KEYS,
    KEYS_IN_EVENT,
    PUT,
    SNAPSHOT,
    SNAPSHOT_ROUTES,
    SYNCED,
    Event,
    encode_event,
)

DEFAULT_CAPTURE = "errors"

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
        self.keys: set[str] = set()
        """Of all sandboxes, whichever workloads these fork."""
        self._key_changes: dict[str, bool] = {}
        self.captures: dict[str, str] = {}
        """Routing key -> whose messages its hops keep, for those that have not the default."""
        self._capture_changes: dict[str, str] = {}
        self._tables: dict[str, dict[str, tuple[Route, str]]] = {}
        self._ended: dict[str, dict[str, tuple[Route, str]]] = {}
        """Tombstones, beside the routes."""
        self._log: deque[RouteEvent] = deque()
        self._by_workload: dict[str, deque[RouteEvent]] = {}

    def __repr__(self) -> str:
        return f"<PublishedRoutes revision {self.revision}, {len(self)} routes, {len(self._log)} changes kept>"

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def restore(self, routes: Iterable[Route], events: Iterable[RouteEvent]) -> None:
        """What the store held: the tables as they are, and the changes that led to them."""
        for route in routes:
            self._put(route)
        for event in events:
            self._remember(event)

    def lookup(self, workload: str, key: str) -> Route | None:
        """The route or the tombstone."""
        found = self._tables.get(workload, {}).get(key) or self._ended.get(workload, {}).get(key)
        return found[0] if found else None

    def has_key(self, key: str, had: bool) -> None:
        """A sandbox has a key, or has it no more. It is told with the changes of routes that are told next."""
        if had != (key in self.keys):
            self._key_changes[key] = had
            (self.keys.add if had else self.keys.discard)(key)

    def has_capture(self, key: str, capture: str) -> None:
        """Whose messages the hops of a key keep; told with the keys."""
        if capture != self.captures.get(key, DEFAULT_CAPTURE):
            self._capture_changes[key] = self.captures[key] = capture
            if capture == DEFAULT_CAPTURE:
                del self.captures[key]

    def key_events(self) -> list[bytes]:
        """What has changed of the keys since the last call."""
        captures, self._capture_changes = self._capture_changes, {}
        changed, self._key_changes = self._key_changes, {}
        added = [key for key, had in changed.items() if had]
        return encoded_keys(added, [key for key, had in changed.items() if not had]) + encoded_captures(captures)

    def workloads(self) -> Set[str]:
        """Those that some route replaces."""
        return self._tables.keys()

    def events_of(self, changes: Iterable[RouteChange], after: int) -> list[RouteEvent]:
        """The changes as events with ids from `after` + 1. Nothing is changed yet."""
        events = []
        for ident, change in enumerate(changes, after + 1):
            gone = {"workload": change.workload, "key": change.key}
            if change.route is None:
                name, data = DELETE, _text(gone)
            elif change.route.state is State.ENDED:
                name, data = DELETE, _text(gone | {"ended": encode_tombstone(change.route)})
            else:
                name, data = PUT, _text(encode_route(change.route))
            events.append(RouteEvent(ident, change.workload, change.key, name, data))
        return events

    def apply(self, changes: Iterable[RouteChange], events: Iterable[RouteEvent]) -> None:
        """Take over changes, each with the event that `events_of` made of it."""
        for change, event in zip(changes, events, strict=True):
            for tables in (self._tables, self._ended):
                table = tables.get(change.workload, {})
                if table.pop(change.key, None) and not table:
                    del tables[change.workload]
            if change.route is not None:
                self._put(change.route, event.data)
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
        routes = [text for _, text in self._tables.get(workload, {}).values()]
        ended = [text for _, text in self._ended.get(workload, {}).values()]
        return _pieces(routes, ended, str(self.revision))

    def _put(self, route: Route, text: str = "") -> None:
        """text: of the route, where there is one already."""
        if route.state is State.ENDED:
            self._ended.setdefault(route.workload, {})[route.key] = (route, _text(encode_tombstone(route)))
        else:
            self._tables.setdefault(route.workload, {})[route.key] = (route, text or _text(encode_route(route)))

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


def synced(revision: int, *, previews: bool = False) -> bytes:
    """The end of a snapshot, or of the changes that were missed. previews: all links were told as well."""
    told = {"keys": True} | ({PREVIEWS: True} if previews else {})
    return encode_event(Event(SYNCED, _text(told), str(revision)))


def encoded_keys(add: Sequence[str], remove: Sequence[str] = ()) -> list[bytes]:
    """Keys that sandboxes have or have no more, as the watch writes them: without an id, for they are no routes."""
    return [
        encode_event(Event(KEYS, _text({name: keys[start : start + KEYS_IN_EVENT]})))
        for name, keys in (("add", add), ("remove", remove))
        for start in range(0, len(keys), KEYS_IN_EVENT)
    ]


def encoded_captures(captures: Mapping[str, str]) -> list[bytes]:
    """Whose messages the hops of keys keep, as the watch writes it: without an id, for they are no routes."""
    by_capture: dict[str, list[str]] = {}
    for key in sorted(captures):
        by_capture.setdefault(captures[key], []).append(key)
    return [
        encode_event(Event(CAPTURE, _text({capture: keys[start : start + KEYS_IN_EVENT]})))
        for capture, keys in by_capture.items()
        for start in range(0, len(keys), KEYS_IN_EVENT)
    ]


def _pieces(routes: list[str], ended: list[str], ident: str) -> Iterator[bytes]:
    """Routes first, then tombstones; at least one piece."""
    pieces = [("routes", piece) for piece in _cut(routes)] + [("ended", piece) for piece in _cut(ended)]
    for name, piece in pieces or [("routes", [])]:
        told = ",".join(piece)
        beside = '"routes":[],' if name == "ended" else ""
        yield encode_event(Event(SNAPSHOT, f'{{{beside}"{name}":[{told}]}}', ident))


def _cut(texts: list[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for text in texts:
        if len(piece) == SNAPSHOT_ROUTES or (piece and size + len(text) > MAX_PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    if piece:
        yield piece


def _text(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))
