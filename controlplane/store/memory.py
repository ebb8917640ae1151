"""State that ends with the process: `--memory`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from controlplane.model.group import GroupRecord
from controlplane.model.handoff import Handoff
from controlplane.model.record import Record
from controlplane.model.routes import RouteEvent
from controlplane.model.workload import Workload
from controlplane.store.port import KEPT_EVENTS, Contents, Entry, Kind, StoreError


class MemoryStore:
    """A store in memory. A second registry in the same process may `load` what the first one wrote.

    first_revision: where a new registry begins to count, see `controlplane.store.sqlite`.
    """

    def __init__(self, first_revision: int = 0, kept_events: int = KEPT_EVENTS) -> None:
        self._revision = self._first = first_revision
        self._sandboxes: dict[str, Record] = {}
        self._workloads: dict[str, Workload] = {}
        self._handoffs: dict[str, Handoff] = {}
        self._groups: dict[str, GroupRecord] = {}
        self._of: dict[Kind, dict[str, Any]] = {
            "sandbox": self._sandboxes,
            "workload": self._workloads,
            "handoff": self._handoffs,
            "group": self._groups,
        }
        self._events: deque[RouteEvent] = deque(maxlen=kept_events)

    def __repr__(self) -> str:
        return f"<MemoryStore revision {self._revision}, {len(self._sandboxes)} sandboxes>"

    async def load(self) -> Contents:
        return Contents(
            revision=self._revision,
            floor=self._events[0].id - 1 if self._events else self._first,
            sandboxes=list(self._sandboxes.values()),
            workloads=list(self._workloads.values()),
            events=list(self._events),
            handoffs=list(self._handoffs.values()),
            groups=list(self._groups.values()),
        )

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        for entry in entries:
            self._put(entry)
        return [None] * len(entries)

    async def close(self) -> None:
        return None

    def _put(self, entry: Entry) -> None:
        if entry.document is None:
            self._of[entry.kind].pop(entry.name, None)
        else:
            self._of[entry.kind][entry.name] = entry.document
        self._events.extend(entry.events)
        if entry.events:
            self._revision = entry.events[-1].id
