"""Sandboxes end when their time to live is over: the one task that looks at it, and sleeps until the next deadline."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime

from controlplane.life.deadlines import Deadlines
from controlplane.life.sandbox import SandboxLife
from controlplane.life.surroundings import Surroundings
from controlplane.model.desired import lived
from controlplane.model.record import Record
from controlplane.store.port import StoreError

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 30.0
"""At least so often the wall clock is looked at: somebody may set it."""

EXPIRY_RETRY_SECONDS = 1.0
"""Until the next attempt to delete what has expired when the store could not be written."""


class Expiry:
    """lives: of all sandboxes; age: forgets the keys that have been remembered for long enough."""

    def __init__(
        self, around: Surroundings, lives: Callable[[], Collection[SandboxLife]], age: Callable[[], Awaitable[None]]
    ) -> None:
        self._around = around
        self._lives = lives
        self._age = age
        self._sooner = asyncio.Event()
        self._deadlines = Deadlines(around.clock)
        self._next_look = 0.0
        """On the monotonic clock."""

    def __repr__(self) -> str:
        return f"<Expiry {self._deadlines!r}>"

    def look_at(self, life: SandboxLife) -> None:
        """It was applied: it may end before the next look."""
        if self._around.clock.monotonic() + self._deadlines.left(life.record) < self._next_look:
            self._sooner.set()

    def forget(self, name: str) -> None:
        self._deadlines.forget(name)

    async def run(self) -> None:
        """Delete what has outlived its TTL."""
        while True:
            self._sooner.clear()
            self._next_look = math.inf  # what is applied from here on has to be looked at before anything is waited for
            self._deadlines.notice_jump()
            living = [life for life in self._lives() if not life.record.deleting]
            left = {life: self._deadlines.left(life.record) for life in living}
            late = [life for life in living if left[life] <= 0]
            for life in late:
                await self._delete(life)
            await self._age()
            seconds = min([EXPIRY_SECONDS, *(left[life] for life in living if left[life] > 0)])
            if any(not life.record.deleting for life in late):
                seconds = EXPIRY_RETRY_SECONDS
            self._next_look = self._around.clock.monotonic() + seconds
            wait = self._around.clock.sleep(seconds)
            await self._around.tasks.first(self._sooner.wait(), wait, name="next expiry")

    async def _delete(self, life: SandboxLife) -> None:
        def step(record: Record, now: datetime) -> Record | None:
            if record.deleting or self._deadlines.left(record) > 0:
                return None
            return record.deleted(now, f"it expired, as {lived(record.desired)}")

        try:
            if await life.step(step):
                self._around.counters.expired += 1
                log.info("sandbox %s has expired", life.name)
        except StoreError as error:
            log.error("sandbox %s has expired and cannot be deleted: %s", life.name, error)
