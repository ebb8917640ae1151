"""State that ends with the process: `--memory`."""

from __future__ import annotations

from collections import deque

from controlplane.model.record import Record
from controlplane.model.workload import Workload
from controlplane.store.port import KEPT_EVENTS, Batch, Contents, RouteEvent


class MemoryStore:
    """A store in memory. A second registry in the same process may `load` what the first one wrote.

    first_revision: where a new registry begins to count, see `controlplane.store.sqlite`.
    """

    def __init__(self, first_revision: int = 0, kept_events: int = KEPT_EVENTS) -> None:
        self._revision = self._first = first_revision
        self._sandboxes: dict[str, Record] = {}
        self._workloads: dict[str, Workload] = {}
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
        )

    async def write(self, batch: Batch) -> None:
        for name, record in batch.sandboxes.items():
            if record is None:
                self._sandboxes.pop(name, None)
            else:
                self._sandboxes[name] = record
        for name, workload in batch.workloads.items():
            if workload is None:
                self._workloads.pop(name, None)
            else:
                self._workloads[name] = workload
        self._events.extend(batch.events)
        if batch.events:
            self._revision = batch.events[-1].id

    async def close(self) -> None:
        return None
