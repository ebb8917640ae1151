"""The port between the registry and the place where its state outlives it.

The registry keeps all its state in memory and reads the store once, at start. Afterwards it only writes: one
`Batch` is one transaction, stored whole and durably or not at all. What a batch says is told to nobody before
`write` has returned, so that a restart never takes back what a sidecar or a person has already seen.

The change log (`RouteEvent`) lets a sidecar resume its watch after a restart of the registry. It is trimmed to
KEPT_EVENTS; whoever asks for older ones gets a snapshot instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.model.record import Record
from controlplane.model.workload import Workload

KEPT_EVENTS = 10_000
"""About 3 MB. At a hundred changes a second a sidecar may be away for a minute and a half and still resume."""


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """One change of one route, as the watch tells it.

    id:   the registry's revision that it made.
    name: `put` or `delete` (`proxy.contract.watch`).
    data: its JSON, one line.
    """

    id: int
    workload: str
    key: str
    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be stored together. None as a value means: forget it."""

    sandboxes: Mapping[str, Record | None] = field(default_factory=dict)
    workloads: Mapping[str, Workload | None] = field(default_factory=dict)
    events: Sequence[RouteEvent] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is stored.

    revision: the registry's, the id of the newest event there ever was.
    floor:    events above this id are all in `events`; those up to it are gone.
    """

    revision: int
    floor: int
    sandboxes: list[Record]
    workloads: list[Workload]
    events: list[RouteEvent]


class StoreError(Exception):
    """The store cannot be read or written. `str()` is one sentence; `full`: because there is no space left."""

    def __init__(self, message: str, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class Store(Protocol):
    """One place where state outlives the registry."""

    async def load(self) -> Contents:
        """All that is stored. Called once, before anything else. Raises StoreError."""
        ...

    async def write(self, batch: Batch) -> None:
        """Store all of it durably, or raise StoreError and store nothing of it."""
        ...

    async def close(self) -> None: ...
