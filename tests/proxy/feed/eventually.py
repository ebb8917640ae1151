"""Waiting for something that another task, thread or process does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

DEADLINE_SECONDS = 20.0
"""Only ever spent by a test that fails."""


async def eventually(condition: Callable[[], object], within: float = DEADLINE_SECONDS) -> None:
    """Returns as soon as `condition` holds; fails when it does not within so many seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.001)


@asynccontextmanager
async def running(run: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task around the block; an error of its own ends the block and fails the test."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run)
        try:
            yield task
        finally:
            task.cancel()
