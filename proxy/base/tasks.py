"""Background tasks: each has a name, an owner and a logged end.

The only place that calls `asyncio.create_task`. A task that nobody owns can be collected while it runs, and its
exception is seen by nobody; a `Tasks` keeps both from happening.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger("skycap.tasks")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""Between a fault and the next beginning: a fault that stays must not fill the log."""

STABLE_SECONDS = 10.0
"""What went on for so long is well again."""

_T = TypeVar("_T")
Work = Callable[[], Coroutine[Any, Any, object]]


class Tasks:
    """The background tasks of one owner.

    `keep` for work that lasts as long as the owner: a fault of its own is logged and told, and the work is begun again.
    `spawn` for work that ends: an exception is logged with the task's name. `begin` for work whose outcome somebody
    awaits: the awaiter gets the exception.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: set[asyncio.Task[Any]] = set()
        self._faults: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Tasks of {self._owner}: {', '.join(sorted(task.get_name() for task in self._running)) or 'none'}>"

    def __len__(self) -> int:
        return len(self._running)

    @property
    def trouble(self) -> str:
        """Which work that is kept has failed a moment ago, and how; "" when all of it goes on. For `/ready`."""
        return "; ".join(f"{name}: {fault}" for name, fault in self._faults.items())

    def keep(self, work: Work, name: str, *, told: bool = True) -> asyncio.Task[None]:
        """Run `work` until it returns, and begin it again whenever it raises.

        told: it is named in `trouble` until it has gone on for STABLE_SECONDS. Not for work of which there is one for
        each of many things: the owner is well when one of them is not.
        """
        return self.spawn(self._kept(work, name, told), name)

    async def _kept(self, work: Work, name: str, told: bool) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        well: asyncio.TimerHandle | None = None
        try:
            while True:
                began = loop.time()
                try:
                    await work()
                    return
                except Exception as error:
                    log.exception("the task %r failed; it is begun again in %g s", name, pause)
                    if told:
                        self._faults[name] = f"{type(error).__name__}: {error}"
                if well is not None:
                    well.cancel()
                if loop.time() - began > STABLE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                well = loop.call_later(STABLE_SECONDS, self._faults.pop, name, None)
        finally:
            if well is not None:
                well.cancel()
            self._faults.pop(name, None)

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
