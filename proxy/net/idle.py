"""How long a connection to one endpoint may be idle and still be lent.

An application closes idle connections after a time of its own, which few announce (gunicorn: 2 s, uvicorn and Node.js:
5 s), and a request that crosses that close is lost when it may not be sent again (RFC 9110 section 9.2.2). So the age
at which an idle connection was seen to die is learned, and none is lent that is nearly as old.

What looks the same and is something else: a restart ends connections of every age at once. So deaths of different ages
in a row teach nothing, and neither does an application that does not even accept. What was learned is tried anew
after a minute, and, when it proves true, after ten times as long as the time before.
"""

from __future__ import annotations

from proxy.exchange.settings import TICK_SECONDS

IDLE_TICKS = int(60 / TICK_SECONDS)
"""Applications keep idle connections for 75 s (nginx) or more when they do not say."""

ANNOUNCED_MARGIN = int(1 / TICK_SECONDS)
"""Before the application would close by its own announcement."""

FIRST_TRUST = int(60 / TICK_SECONDS)
LAST_TRUST = int(86400 / TICK_SECONDS)
"""For how long a limit is believed in, at first and at last."""

_AT_ONCE = 2
"""Ticks. What ends within them ends for one reason."""


class IdleLimit:
    """Of one endpoint. Times are ticks of the wheel."""

    __slots__ = ("_age", "_before", "_died", "_trust", "_until", "ticks")

    def __init__(self) -> None:
        self.ticks = IDLE_TICKS
        self._before = IDLE_TICKS
        self._until = 0
        self._trust = FIRST_TRUST
        self._died = -FIRST_TRUST
        self._age = -FIRST_TRUST

    def __repr__(self) -> str:
        return f"<IdleLimit {self.ticks}>"

    def for_seconds(self, announced: int, now: int) -> int:
        """How many ticks a connection may be idle from now on; 0 or less: not at all. announced: what the application
        says, -1 when it does not."""
        if self.ticks != IDLE_TICKS and now >= self._until:
            self.forget()
        if announced < 0:
            return self.ticks
        return min(self.ticks, int(announced / TICK_SECONDS) - ANNOUNCED_MARGIN)

    def died(self, age: int, now: int) -> None:
        """An idle connection of this age was closed by its other end, or proved to have been when it was lent."""
        margin = max(_AT_ONCE, age // 10)
        again = abs(age - self._age) <= margin
        if now - self._died > _AT_ONCE:
            self._trust = min(10 * self._trust, LAST_TRUST) if again else FIRST_TRUST
            self._before = self.ticks
        if again or now - self._died > _AT_ONCE:
            self.ticks = min(self.ticks, age - margin)
            self._until = now + self._trust
        else:
            self.ticks = self._before
        self._died, self._age = now, age

    def forget(self) -> None:
        """The application may be another one now."""
        self.ticks = self._before = IDLE_TICKS
