"""A store whose disk a test can fill, slow down, and empty again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from controlplane.store.memory import MemoryStore
from controlplane.store.port import Entry, StoreError


class TroubledStore(MemoryStore):
    """problem: the outcome of every write while it is set, or raised when it is no StoreError; writes: how many were
    asked for; refuses: names of objects that are not stored, while others beside them are.
    """

    def __init__(self, first_revision: int = 100) -> None:
        super().__init__(first_revision)
        self.problem: Exception | None = None
        self.refuses: set[str] = set()
        self.writes = 0
        self.batches: list[Sequence[Entry]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def write(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        self.writes += 1
        await self.free.wait()
        if isinstance(self.problem, StoreError):
            return [self.problem] * len(entries)
        if self.problem is not None:
            raise self.problem
        taken = [entry for entry in entries if entry.name not in self.refuses]
        self.batches.append(taken)
        await super().write(taken)
        return [None if entry in taken else StoreError(f"{entry.name} is refused") for entry in entries]
