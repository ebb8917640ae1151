"""Which key a trace carries: remembered by the inbound side, recalled by the outbound side.

Two generations of a plain dictionary: what is remembered goes into the young one, and a rotation (every
`TRACE_SECONDS`, or earlier when the young one is full) makes it the old one and forgets what was old. So an id is
known for at least TRACE_SECONDS after its last keyed request began unless the table overflows, nothing has a timer
of its own, and memory is bounded. Ids and keys are bytes and strings, which the garbage collector need not visit.

While a keyed request is in flight, its ids also lead to the list in which the outbound side collects who served
the calls that the application made for it; requests of one trace that overlap share it.
"""

from __future__ import annotations

from collections.abc import Sequence

TRACE_SECONDS = 120.0
"""Applications go on calling after they have answered (queues, retries); two minutes cover that."""

MAX_TRACES = 50_000
"""Per generation; about 10 MB when both are full."""

MAX_SERVED = 64
"""Items collected for one request: more than any call chain that a person would read."""


class Served:
    """Who served the outbound calls of one trace, each once, in the order in which they answered.

    items:  the values of `skycap-served-by` that were seen.
    shared: trace id -> how many requests in flight have it besides the first; empty unless requests overlap.
    """

    __slots__ = ("items", "shared")

    def __init__(self) -> None:
        # Shared constants: most requests end without either.
        self.items: Sequence[bytes] = ()
        self.shared: dict[bytes, int] | None = None

    def add(self, value: bytes) -> None:
        """Add the value of an answer's `skycap-served-by`."""
        if value not in self.items and len(self.items) < MAX_SERVED:
            self.items = (*self.items, value)


class Correlation:
    """trace id -> routing key, for one sidecar."""

    __slots__ = ("_in_flight", "_limit", "_old", "_young", "dropped", "keyed_in_flight")

    def __init__(self, limit: int = MAX_TRACES) -> None:
        self._limit = limit
        self._young: dict[bytes, str] = {}
        self._old: dict[bytes, str] = {}
        self._in_flight: dict[bytes, Served] = {}
        self.keyed_in_flight = 0
        self.dropped = 0
        """Ids forgotten before their time because the table was full."""

    def __repr__(self) -> str:
        return f"<Correlation {len(self)} traces, {self.keyed_in_flight} in flight>"

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def known(self) -> bool:
        """Any trace is."""
        return bool(self._young or self._old)

    def enter(self, ids: Sequence[bytes], key: str) -> Served:
        """A keyed request with these ids begins. The result goes back into `leave`."""
        young, in_flight = self._young, self._in_flight
        served = Served()
        overlaps = None
        for ident in ids:
            young[ident] = key
            known = in_flight.setdefault(ident, served)
            if known is not served:
                overlaps = overlaps or known
        if overlaps is not None:
            served = self._join(ids, overlaps)
        if len(young) > self._limit:
            self.dropped += len(self._old)
            self.rotate()
        self.keyed_in_flight += 1
        return served

    def _join(self, ids: Sequence[bytes], served: Served) -> Served:
        """Another request of a trace that is in flight: both collect in one place."""
        shared = served.shared = served.shared or {}
        for ident in ids:
            if self._in_flight[ident] is served:
                shared[ident] = shared.get(ident, 0) + 1
            else:
                self._in_flight[ident] = served
        return served

    def leave(self, ids: Sequence[bytes], served: Served) -> None:
        """A request that entered with these ids has ended."""
        self.keyed_in_flight -= 1
        in_flight, shared = self._in_flight, served.shared
        for ident in ids:
            if shared and ident in shared:
                shared[ident] -= 1
                if not shared[ident]:
                    del shared[ident]
            elif in_flight.get(ident) is served:
                del in_flight[ident]

    def recall(self, ids: Sequence[bytes]) -> str:
        """The key of the first id that is known, "" when none is."""
        for ident in ids:
            key = self._young.get(ident) or self._old.get(ident)
            if key:
                return key
        return ""

    def served(self, ids: Sequence[bytes]) -> Served | None:
        """Where the answers of this trace's calls are collected, None when no request of it is in flight."""
        for ident in ids:
            served = self._in_flight.get(ident)
            if served is not None:
                return served
        return None

    def rotate(self) -> None:
        """Forget what was remembered before the last rotation."""
        self._old = self._young
        self._young = {}
