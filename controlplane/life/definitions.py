"""The baselines that are registered: what a process fork starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane.life.journal import Change, Journal
from controlplane.life.refusals import TooMany
from controlplane.model.workload import Workload

MAX_WORKLOADS = 10_000


class Definitions:
    """Workloads by name: those that were registered, which are stored, and those that the cluster shows.

    What was registered goes first.
    """

    def __init__(self, journal: Journal, stored: Iterable[Workload]) -> None:
        self._journal = journal
        self._workloads = {workload.workload: workload for workload in stored}
        self._learned: dict[str, Workload] = {}
        self.watchers: list[Callable[[str], None]] = []
        """Told of every name whose baseline is another one, or none any more."""

    def __repr__(self) -> str:
        return f"<Definitions {len(self._workloads)} workloads>"

    def get(self, name: str) -> Workload | None:
        return self._workloads.get(name) or self._learned.get(name)

    def all(self) -> list[Workload]:
        """By name."""
        return [workload for _, workload in sorted((self._learned | self._workloads).items())]

    def learn(self, workloads: Iterable[Workload]) -> None:
        """These are all that the cluster shows."""
        before, self._learned = self._learned, {workload.workload: workload for workload in workloads}
        for name in sorted(before.keys() | self._learned.keys()):
            if before.get(name) != self._learned.get(name):
                self._changed(name)

    async def put(self, workload: Workload) -> bool:
        """Register or replace; running shadows keep what they were started with. True: it is new.

        Raises StoreError and TooMany.
        """
        name = workload.workload
        known = self._workloads.get(name)
        if known == workload:
            return False
        if known is None and len(self._workloads) >= MAX_WORKLOADS:
            raise TooMany(f"{MAX_WORKLOADS} workloads are registered, which is the limit")

        def applied(_: object) -> None:
            self._workloads[name] = workload
            self._changed(name)

        await self._journal.commit(Change("workload", name, workload, applied))
        return known is None

    async def delete(self, name: str) -> bool:
        """False: there was none. Raises StoreError."""
        if name not in self._workloads:
            return False

        def applied(_: object) -> None:
            self._workloads.pop(name, None)
            self._changed(name)

        await self._journal.commit(Change("workload", name, None, applied))
        return True

    def _changed(self, name: str) -> None:
        for watcher in self.watchers:
            watcher(name)
