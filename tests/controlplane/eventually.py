"""Wait for something to become true, with a deadline: the tests' only way to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE_SECONDS = 10.0


async def eventually(reached: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as `reached` is true. Raises AssertionError that shows it when time is over."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {reached}")
        await asyncio.sleep(0.002)
