"""How listeners end: nobody new, what is in flight finishes, the rest is cut."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from proxy.net.listener import Listener

LAST_CALL_SECONDS = 0.25
"""From the start of the drain: a request that was on its way to an idle connection is still answered, and learns that
it was the last. Many round trips of a cluster; a chain of services that end in turn waits this long for each."""


async def drain(listeners: Sequence[Listener], end: float) -> int:
    """Stop accepting and let what is in flight finish until `end`, a monotonic time. Returns how many were cut."""
    for listener in listeners:
        listener.stop_accepting()
    emptied = asyncio.gather(*(listener.emptied() for listener in listeners))
    await _wait(emptied, LAST_CALL_SECONDS)
    for listener in listeners:
        listener.drain(last_call=True)
    await _wait(emptied, end - time.monotonic())
    cut = sum(listener.abort() for listener in listeners)
    emptied.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await emptied  # else asyncio complains that its end was not looked at
    return cut


async def _wait(emptied: asyncio.Future[list[None]], seconds: float) -> None:
    """Until all connections have ended or the time is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(emptied), max(seconds, 0))
