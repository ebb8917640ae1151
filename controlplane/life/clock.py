"""Time, as a port: a TTL of four hours is tested in a millisecond."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the registry asks of time."""

    def now(self) -> datetime:
        """The wall clock, UTC: what people see and what is stored."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, however the wall clock is set."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
