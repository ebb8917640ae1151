"""What a person should hear about once, although it happens with every request.

Each notice is about a pair (who called whom, which carriers disagree). It is logged the first time in a period
and counted after that. A stranger who makes up pairs can fill neither the memory nor the log: beyond a number of
pairs a period is silent, and what was left out is said when the next one begins.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

log = logging.getLogger("skycap.notice")

PERIOD_SECONDS = 3600.0
PAIRS = 128
"""Per period: a service calls a dozen others. A pair has at most the name of a workload and that of a host, 253 bytes
each: 128 KB of each kind of notice."""

SHOWN_CHARACTERS = 120
"""Of a path, which a stranger chooses."""


class OncePerPair:
    """Says yes to each pair once per period. period: seconds; pairs: how many of them are remembered."""

    __slots__ = ("_clock", "_pairs", "_period", "_seen", "_until", "left_out")

    def __init__(
        self, period: float = PERIOD_SECONDS, pairs: int = PAIRS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._period = period
        self._pairs = pairs
        self._clock = clock
        self._seen: set[tuple[str, str]] = set()
        self._until = clock() + period
        self.left_out = 0
        """In this period."""

    def __repr__(self) -> str:
        return f"<OncePerPair {len(self._seen)}/{self._pairs} left_out={self.left_out}>"

    def first(self, one: str, other: str) -> bool:
        now = self._clock()
        if now >= self._until:
            if self.left_out:
                log.info("%d more notices of the last %d minutes were left out", self.left_out, self._period / 60)
            self._seen.clear()
            self._until = now + self._period
            self.left_out = 0
        pair = (one, other)
        if pair in self._seen or len(self._seen) >= self._pairs:
            self.left_out += 1
            return False
        self._seen.add(pair)
        return True


class Notices:
    """The notices of the data path."""

    __slots__ = ("_bugs", "_conflicts", "_losses", "_workload")

    def __init__(self, workload: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._workload = workload
        self._losses = OncePerPair(clock=clock)
        self._conflicts = OncePerPair(clock=clock)
        self._bugs = OncePerPair(clock=clock)

    def key_lost(self, upstream: str, method: str, target: str, fields: Sequence[str], disputed: bool) -> None:
        """An outbound call that may have lost its key.

        upstream: whom it calls; target: the request target, whose query is not shown.
        fields:   those of its trace context; disputed: other requests have the same trace, with another key or none.
        """
        if self._losses.first(self._workload, upstream):
            path = target.partition("?")[0][:SHOWN_CHARACTERS]
            named = ", ".join(fields)
            if disputed:
                why = f"shares its trace ({named}) with requests that have another key or none"
            elif fields:
                why = f"belongs to no request that is known, by its {named}"
            else:
                why = "had no trace header"
            log.warning(
                "key may be lost at %s calling %s: %s %s %s",
                self._workload, upstream[:SHOWN_CHARACTERS], method[:SHOWN_CHARACTERS], path, why,
            )  # fmt: skip

    def key_conflict(self, winner: str, key: str, loser: str, other: str) -> None:
        """Two carriers of one request name different keys."""
        if self._conflicts.first(winner, loser):
            log.warning(
                "carriers disagree about the routing key at %s: %s says %s, %s says %s; %s wins",
                self._workload, winner, key, loser, other, winner,
            )  # fmt: skip

    def routing_failed(self, error: Exception) -> None:
        """Deciding on a request has failed by a bug; it went to the application."""
        if self._bugs.first(type(error).__name__, str(error)[:SHOWN_CHARACTERS]):
            log.error("routing failed at %s, the baseline answers", self._workload, exc_info=error)
