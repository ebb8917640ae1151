"""Sandboxes that nobody calls: after `spec.idle` their shadows are stopped, and the next request starts them again.

    Ready -> no hop of its key and no connection for `idle` -> Sleeping: routes pending and asleep, shadows stopped
    Sleeping -> a sidecar says that a request waits, or somebody applies it -> Pending -> Ready

What counts as a call is what the sidecars tell: a hop with its routing key. A connection that is open to a shadow, a
WebSocket for instance, keeps it awake without any. So do connections that sidecars keep for the next request, for a
minute at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from controlplane.hops.port import HopsUnavailableError
from controlplane.life.sandbox import SandboxLife
from controlplane.life.surroundings import Surroundings
from controlplane.model.sandbox import Phase, ttl_seconds
from controlplane.store.port import StoreError

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks: how much longer than `idle` a shadow may run."""

_Mark = tuple[int, datetime]


class Idle:
    """lives: of all sandboxes."""

    def __init__(self, around: Surroundings, lives: Callable[[], Iterable[SandboxLife]]) -> None:
        self._around = around
        self._lives = lives
        self._some = asyncio.Event()
        self._seen: dict[str, tuple[_Mark, float]] = {}
        """By name: its newest hop and its last update, and when we first saw that there was nothing newer."""

    def __repr__(self) -> str:
        return f"<Idle {len(self._seen)} watched>"

    def look_at(self, life: SandboxLife) -> None:
        """It was applied."""
        if life.record.desired.spec.idle:
            self._some.set()

    async def run(self) -> None:
        while True:
            if not any(life.record.desired.spec.idle for life in self._lives()):
                self._some.clear()
                await self._some.wait()
            await self._around.clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Put to sleep what has not been called for long enough."""
        awake = [life for life in self._lives() if life.record.desired.spec.idle and life.record.phase is Phase.READY]
        before, self._seen = self._seen, {}
        for life in awake:
            keys = (life.record.routing_key, *self._around.groups.keys_of(life.name))
            try:
                mark = (sum([await self._around.hops.last(key) for key in keys]), life.record.desired.updated)
            except HopsUnavailableError:
                continue  # whether somebody has called is not known: it counts anew from when it is
            moment = self._around.clock.monotonic()
            known, since = before.get(life.name, (None, moment))
            self._seen[life.name] = mark, since if known == mark else moment
            over = moment - self._seen[life.name][1] >= ttl_seconds(life.record.desired.spec.idle or "")
            if over and not await self._connected(life):
                await self._sleep(life)

    async def _sleep(self, life: SandboxLife) -> None:
        try:
            if await life.step(lambda record, now: record.slept(now)):
                del self._seen[life.name]  # awake again it has all its time
                log.info("%s: nobody has called for %s, its shadows sleep", life.name, life.record.desired.spec.idle)
        except StoreError as error:
            log.warning("%s: its shadows are not put to sleep: %s", life.name, error)

    async def _connected(self, life: SandboxLife) -> bool:
        for fork in life.record.forks:
            copy = fork.serving
            running = life.running.get((copy.fork.workload, copy.revision)) if copy is not None else None
            if running is not None and await self._around.installation.launcher(fork.fork.launcher).connected(running):
                return True
        return False
