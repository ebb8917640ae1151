"""One connection out of several addresses: the next is tried when one fails, or is slow (RFC 8305 section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from proxy.base.tasks import Tasks, ended

ATTEMPT_SECONDS = 0.25
"""Until the next address is tried beside a slow one: what RFC 8305 section 8 recommends."""

_T = TypeVar("_T")


async def first_connected(
    addresses: Sequence[str],
    attempt: Callable[[str], Awaitable[_T]],
    superfluous: Callable[[_T], None],
    delay: float = ATTEMPT_SECONDS,
) -> _T:
    """What the first attempt that succeeds makes; the others are cancelled.

    superfluous: disposes of what a second attempt made in the same moment.
    Raises OSError when all fail, that of the first address.
    """
    if len(addresses) == 1:
        return await attempt(addresses[0])
    tasks = Tasks("one dial")
    running: list[asyncio.Task[_T]] = []
    waiting: set[asyncio.Task[_T]] = set()
    won: asyncio.Task[_T] | None = None

    async def begin(address: str) -> _T:
        return await attempt(address)

    try:
        left = list(addresses)
        while won is None and (left or waiting):
            if left:
                task = tasks.begin(begin(left[0]), f"attempt {left.pop(0)}")
                running.append(task)
                waiting.add(task)
            _, waiting = await asyncio.wait(
                waiting, timeout=delay if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = next((task for task in running if task.done() and task.exception() is None), None)
    finally:
        for task in running:
            if task is not won:
                await ended(task)
                if not task.cancelled() and task.exception() is None:
                    superfluous(task.result())
    if won is not None:
        return won.result()
    failed = running[0].exception()
    assert failed is not None
    raise failed
