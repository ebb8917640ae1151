"""The port between the registry and the place where its state outlives it.

The registry keeps all its state in memory and reads the store once, at start. Afterwards it only writes: one `Entry`
is one object, stored whole and durably or not at all. What an entry says is told to nobody before it is stored, so
that a restart never takes back what a sidecar or a person has already seen.

A store is asked for no more than that: no transaction spans two objects, so that an API server that stores one
object at a time can serve as well as a database.

The changes of routes that follow from an object are written beside it. A store that keeps them (`Contents.events`)
lets sidecars resume their watch after a restart of the registry; with one that does not, they get a snapshot then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from controlplane.model.group import GroupRecord
from controlplane.model.handoff import Handoff
from controlplane.model.record import Record
from controlplane.model.routes import RouteEvent
from controlplane.model.workload import Workload

KEPT_EVENTS = 10_000
"""About 3 MB. At a hundred changes a second a sidecar may be away for a minute and a half and still resume."""

Kind = Literal["sandbox", "workload", "handoff", "group"]
Document = Record | Workload | Handoff | GroupRecord


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as it is to be stored.

    document: None means: forget it.
    events:   the changes of routes that follow from it.
    """

    kind: Kind
    name: str
    document: Document | None
    events: Sequence[RouteEvent] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is stored.

    revision: the registry's, not smaller than the id of the newest event there ever was.
    floor:    events above this id are all in `events`; those up to it are gone. Where no event is kept it is the
              revision.
    """

    revision: int
    floor: int
    sandboxes: list[Record]
    workloads: list[Workload]
    events: list[RouteEvent]
    handoffs: list[Handoff] = field(default_factory=list)
    groups: list[GroupRecord] = field(default_factory=list)


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

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        """Store each of them durably, in this order, and return what became of each: None, or why it is not stored.

        A store may take them together, or one by one; one that is not stored says nothing about the others.
        """
        ...

    async def close(self) -> None: ...
