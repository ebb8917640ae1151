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

    ids: by which it is found -> requests in flight that name it. Requests that overlap need not name all the same
         ids: each usually has an `x-request-id` of its own.
    """

    __slots__ = ("ids", "items")

    def __init__(self, ids: Sequence[bytes] = ()) -> None:
        self.ids = dict.fromkeys(ids, 1)
        self.items: list[bytes] = []

    def add(self, value: bytes) -> None:
        """Add the value of an answer's `skycap-served-by`."""
        if value not in self.items and len(self.items) < MAX_SERVED:
            self.items.append(value)


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
        served = None
        for ident in ids:
            young[ident] = key
            served = served or in_flight.get(ident)
        if len(young) > self._limit:
            self.dropped += len(self._old)
            self.rotate()
        if served is None:
            served = Served(ids)
        else:
            for ident in ids:
                served.ids[ident] = served.ids.get(ident, 0) + 1
        for ident in ids:
            in_flight[ident] = served
        self.keyed_in_flight += 1
        return served

    def leave(self, ids: Sequence[bytes], served: Served) -> None:
        """A request that entered with these ids has ended."""
        self.keyed_in_flight -= 1
        for ident in ids:
            left = served.ids.pop(ident, 0) - 1
            if left > 0:
                served.ids[ident] = left
            elif self._in_flight.get(ident) is served:
                del self._in_flight[ident]

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
