"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)


class FakeClock:
    """The wall clock and the monotonic one move together, unless a test sets the wall clock (`shift`)."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._shift = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._elapsed + self._shift)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        sleeper = (self._elapsed + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    def sleeping(self) -> list[float]:
        """How long each sleeper still has to go, rounded to milliseconds."""
        return sorted(round(until - self._elapsed, 3) for until, future in self._sleepers if not future.done())

    def advance(self, seconds: float) -> None:
        """Move on, and wake who is due."""
        self._elapsed += seconds
        for until, future in self._sleepers:
            if until <= self._elapsed and not future.done():
                future.set_result(None)

    def shift(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._shift += seconds
