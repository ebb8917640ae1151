"""Background tasks: each has a name, an owner and a logged end.

The only place that calls `asyncio.create_task`. A task that nobody owns can be collected while it runs, and its
exception is seen by nobody; a `Tasks` keeps both from happening.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("skycap.tasks")

_T = TypeVar("_T")


class Tasks:
    """The background tasks of one owner.

    `spawn` for work that runs by itself: an exception is logged with the task's name. `begin` for work whose
    outcome somebody awaits: the awaiter gets the exception.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Tasks of {self._owner}: {', '.join(sorted(task.get_name() for task in self._running)) or 'none'}>"

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        task = self.begin(work, name)
        task.add_done_callback(_log_failure)
        return task

    def begin(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        task = asyncio.create_task(work, name=name)  # noqa: TID251 (the one place)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def finish(self) -> None:
        """Wait until all have ended by themselves, those included that they start meanwhile."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def close(self) -> None:
        """Cancel all and wait for their end."""
        while self._running:
            running = set(self._running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def first(self, *work: Coroutine[Any, Any, object], name: str) -> None:
        """Run all until one of them is done, and cancel the rest. What they return or raise is nobody's."""
        running = {self.begin(one, f"{name} {number}") for number, one in enumerate(work)}
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in running:
                await ended(task)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        log.error("the task %r failed", task.get_name(), exc_info=error)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever its outcome. Cancelling the caller still cancels the caller."""
    task.cancel()
    await asyncio.wait({task})
