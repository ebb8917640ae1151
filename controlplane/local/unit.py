"""A supervised process, and whether it does its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf

from controlplane.local.events import Ended, Event, NotReady, Observer, Ready
from controlplane.local.supervised import Supervised
from controlplane.process.child import Child
from controlplane.process.command import Command
from controlplane.process.readiness import Probe, Readiness
from proxy.base.tasks import Tasks

RETRY_SECONDS = 1.0
"""Between two attempts at what comes after the probe, and may fail."""

AfterProbe = Callable[[], Awaitable[str]]
"""What is to be done each time the process has come up. Returns "" when done, otherwise what went wrong."""


Hopeless = Callable[[int | None, bool], bool]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all units of one environment share. on_change: called whenever a process has come or gone."""

    readiness: Readiness
    tasks: Tasks
    observe: Observer
    on_change: Callable[[], None]


class Unit:
    """One process of the environment.

    probe, seconds: how it shows that it is ready, and how long that may take.
    hint:           more about a process that is not, given its pid; stands behind what is missing.
    mark:           by which its kin is known.
    hopeless:       whether it is no use to start it again, given its exit status and whether it has ever been ready.
    ready:          it is, now.
    over:           it has ended and is not started again.
    settled:        one of the two.
    trouble:        why it is not, as far as is known; stands behind its name.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        probe: Probe,
        seconds: float,
        around: Surroundings,
        after_probe: AfterProbe | None = None,
        hint: Callable[[int], str] = lambda pid: "",
        mark: str = "",
        hopeless: Hopeless = lambda status, was_ready: False,
    ) -> None:
        self.name = name
        self.seconds = seconds
        self.ready = asyncio.Event()
        self.trouble = "has not been started"
        self.over = False
        self.settled = asyncio.Event()
        self.process = Supervised(
            name,
            command,
            self._observe_process,
            self._started,
            mark,
            lambda status: hopeless(status, self._was_ready),
        )
        self._was_ready = False
        self._probe = probe
        self._around = around
        self._after_probe = after_probe
        self._hint = hint

    def __repr__(self) -> str:
        return f"<Unit {self.name} {'ready' if self.ready.is_set() else self.trouble}>"

    async def until_ready(self) -> str:
        """Wait for it as long as it may take. Returns "" or one line that begins with its name."""
        try:
            async with asyncio.timeout(self.seconds):
                await self.settled.wait()
        except TimeoutError:
            return f"{self.name}: {self.trouble}"
        return "" if self.ready.is_set() else f"{self.name}: {self.trouble}"

    def _observe_process(self, event: Event) -> None:
        if isinstance(event, Ended):
            self.ready.clear()
            self.settled.clear()
            self.trouble = event.how
            if event.restart_after is None:
                self.trouble = "\n".join((event.how, *event.last_lines))
                self.over = True
                self.settled.set()
            self._around.on_change()
        self._around.observe(event)

    def _started(self, child: Child) -> None:
        self.trouble = "does not answer yet"
        self._around.on_change()
        self._around.tasks.spawn(self._watch(child), f"readiness of {self.name}")

    async def _watch(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        missing = await self._around.readiness.until(self._ask, self.seconds, child.exited)
        if missing and not child.exited.done():
            self._complain(f"{missing}{self._hint(child.pid)}")
            await self._around.readiness.until(self._ask, inf, child.exited)
        while self._after_probe is not None and not child.exited.done():
            missing = await self._after_probe()
            if not missing:
                break
            self._complain(missing)
            await asyncio.wait([child.exited], timeout=RETRY_SECONDS)
        if not child.exited.done():
            self.ready.set()
            self.settled.set()
            self._was_ready = True
            self._around.observe(Ready(self.name, round(loop.time() - began, 3)))

    async def _ask(self) -> str:
        missing = await self._probe()
        if missing:
            self.trouble = f"is not ready: {missing}"
        return missing

    def _complain(self, missing: str) -> None:
        self.trouble = f"is not ready: {missing}"
        self._around.observe(NotReady(self.name, missing))
