"""One coarse clock for all deadlines.

A deadline is an attribute that its owner overwrites as often as it likes; that costs a store. The wheel looks at an
item only when its slot comes round, and then either finds the deadline passed, or moves the item to the slot of the
deadline it has meanwhile. So ten thousand connections that postpone their idle deadline with every request cost the
wheel one look each per turn, and no request creates, cancels or compares a timer.

Deadlines are late by up to one tick, never early. Time in which the process was stopped (no processor for it, a machine
that slept) is nobody's: what its peers said meanwhile waits to be read, and they would be judged before they are heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.exchange.ports import FAR, Timed
from proxy.exchange.settings import TICK_SECONDS

SLOTS: Final = 1024
"""A turn of the wheel is 102 s; a later deadline is looked at once a turn."""


STALL_TICKS: Final = 5
"""So much of a stop counts. A loop that has much to do takes less for a turn."""


class TimerWheel:
    """Implements the `Wheel` port of the exchange."""

    def __init__(self) -> None:
        self.now = 0
        self._slots: list[set[Timed]] = [set() for _ in range(SLOTS)]
        self._soon: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<TimerWheel now={self.now} items={sum(map(len, self._slots))}>"

    def arm(self, item: Timed) -> None:
        """Look at `item` at its deadline, or after a turn when that is later."""
        if item.slot != FAR:
            self._slots[item.slot % SLOTS].discard(item)
        # At least one tick ahead: the slot of this very tick may have been looked through already.
        item.slot = max(min(item.due, self.now + SLOTS - 1), self.now + 1)
        self._slots[item.slot % SLOTS].add(item)

    def disarm(self, item: Timed) -> None:
        """Forget `item`, so that nothing of it stays alive."""
        if item.slot != FAR:
            self._slots[item.slot % SLOTS].discard(item)
            item.slot = FAR

    def soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)
        if self._loop is not None and len(self._soon) == 1:
            self._loop.call_soon(self.turn)

    def turn(self) -> bool:
        """Do what was put off to this turn of the loop. False: nothing was."""
        calls, self._soon = self._soon, []
        for call in calls:
            call()
        return bool(calls)

    def advance(self) -> None:
        """One tick."""
        self.now += 1
        slot = self._slots[self.now % SLOTS]
        if not slot:
            return
        self._slots[self.now % SLOTS] = set()
        for item in slot:
            item.slot = FAR
            if item.due > self.now:
                self.arm(item)
            elif item.due:
                item.due = 0
                item.expired()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._start = loop.time() - self.now * TICK_SECONDS
        self._tick()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        """Catch up with the clock: several ticks at once behind a long turn of the loop."""
        assert self._loop is not None
        elapsed = int((self._loop.time() - self._start) / TICK_SECONDS)
        stopped = elapsed - self.now - STALL_TICKS
        if stopped > 0:
            self._start += stopped * TICK_SECONDS
            elapsed -= stopped
        self._handle = self._loop.call_at(self._start + (elapsed + 1) * TICK_SECONDS, self._tick)
        while self.now < elapsed:
            self.advance()
