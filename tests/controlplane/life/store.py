"""A store whose disk a test can fill, slow down, and empty again."""

from __future__ import annotations

import asyncio

from controlplane.store.memory import MemoryStore
from controlplane.store.port import Batch, StoreError


class TroubledStore(MemoryStore):
    """problem: raised by every write while it is set; writes: how many were asked for."""

    def __init__(self, first_revision: int = 100) -> None:
        super().__init__(first_revision)
        self.problem: StoreError | None = None
        self.writes = 0
        self.batches: list[Batch] = []
        self.free = asyncio.Event()
        self.free.set()

    async def write(self, batch: Batch) -> None:
        self.writes += 1
        await self.free.wait()
        if self.problem is not None:
            raise self.problem
        self.batches.append(batch)
        await super().write(batch)
