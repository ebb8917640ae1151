"""What the admin listener shows of the sidecar, and the one thing that it can do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.contract.routes import Route


class Table(Protocol):
    """`proxy.routing.table.RouteTable`."""

    workload: str
    synced: bool

    def __len__(self) -> int: ...

    def routes(self) -> list[Route]: ...

    def lookup(self, key: str) -> Route | None: ...


class Feed(Protocol):
    """`proxy.feed.holder.FeedState`; a port, since the feed and the admin listener do not know each other."""

    source: str
    connected: bool
    applied: int
    refused: int
    ignored: int
    failures: int
    problem: str
    given_up: bool

    @property
    def ready(self) -> bool: ...

    def age(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the pages ask for.

    metrics:     the value of an `accept` header -> text and content type.
    connections: one JSON object per open connection; iterated no further than a page needs, without a pause.
    drain:       starts the drain; calling it again does no harm.
    draining:    it has started.
    trouble:     which of our own tasks has failed a moment ago, "" when none has.
    """

    table: Table
    feed: Feed
    metrics: Callable[[str], tuple[bytes, str]]
    connections: Callable[[], Iterable[Mapping[str, object]]]
    drain: Callable[[], None]
    draining: Callable[[], bool]
    trouble: Callable[[], str]
