"""When a sandbox's time to live is over: on the wall clock or on the monotonic one, whichever says so first.

`expires` is what people read and what is stored, so the wall clock decides: also while the registry was down, or the
machine asleep. But somebody may set that clock. Set back, no sandbox lives longer than the time that it was given;
set forward, it may end at once, and the log says why.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from controlplane.life.clock import Clock
from controlplane.model.record import Record

log = logging.getLogger(__name__)

TOLERANCE_SECONDS = 5.0
"""What time synchronisation does in small steps needs no mention."""


class Deadlines:
    """Of all sandboxes. Those that are seen for the first time have at most their TTL from then on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, tuple[datetime, float]] = {}
        """By name: `expires`, and what the monotonic clock will say then."""
        self._ahead = self._wall_ahead()

    def __repr__(self) -> str:
        return f"<Deadlines {len(self._ends)}>"

    def left(self, record: Record) -> float:
        """Seconds; 0 or less: its time is over."""
        wall = (record.desired.expires - self._clock.now()).total_seconds()
        expires, end = self._ends.get(record.name, (None, 0.0))
        moment = self._clock.monotonic()
        if expires != record.desired.expires:
            end = moment + min(wall, (record.desired.expires - record.desired.updated).total_seconds())
            self._ends[record.name] = record.desired.expires, end
        return min(wall, end - moment)

    def forget(self, name: str) -> None:
        self._ends.pop(name, None)

    def notice_jump(self) -> None:
        """Say it when the wall clock has been set since the last time."""
        ahead = self._wall_ahead()
        jump, self._ahead = ahead - self._ahead, ahead
        if abs(jump) >= TOLERANCE_SECONDS:
            by = timedelta(seconds=round(abs(jump)))
            if jump > 0:
                log.warning(
                    "the wall clock has gone forward by %s (set, or the machine slept): sandboxes that have expired"
                    " by it end now", by,
                )  # fmt: skip
            else:
                log.warning("the wall clock was set back by %s: no sandbox lives longer than its ttl for it", by)

    def _wall_ahead(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
