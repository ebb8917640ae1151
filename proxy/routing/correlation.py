"""Whose call is it? Which key an id belongs to: entered by the inbound side, recalled by the outbound side.

The rules, and what each of them is for. An *id* is what a field of trace context names (`proxy.routing.trace`).

Whose it is
1. An id belongs to the requests that carry it while they are in flight, keyed or not, and to nobody else. What is in
   flight is asked first and never forgotten, whatever comes meanwhile: exports, WebSockets and floods included.
2. When its last request has ended, an id is remembered with its key for TRACE_SECONDS, because applications go on
   calling after they have answered. What unkeyed requests carried is not remembered.

Who may claim it
3. Nobody takes an id over. One that two keys claim, or a key and an unkeyed request, is *disputed* and names none: as
   long as one of them is in flight, and as long as it is remembered after that. It is the same whoever came first, so
   that guessing somebody's id wins nothing, and a late call of either is not carried to the other's sandbox.
4. Requests with the same id and the same key share it.
5. A request claims eight ids at most (`proxy.routing.trace.MAX_IDS`), and only those that its application sees.
6. An id of 128 bits is compared as a whole where both sides have all of it. Where one has 64, those decide: claimed by
   two of 128 bits, they name none.
7. Ids that are printed in a specification belong to whoever is in flight with them, and are not remembered.

Which one a call goes by
8. An id that names one key goes before those that are disputed or unknown.
9. Ids of one call that name different keys (an unkeyed request in flight counts as one) name none; but what we made
   ourselves decides before what a client chose: nobody else can have it by chance.

What is told
10. A call that gets no key although a keyed request is in flight, or by an id that is disputed, may have lost its key.
    The outbound side counts it and says it, and all keyed requests in flight say it in their answers. A call by an id
    that only unkeyed requests have is theirs, and nobody has lost anything.

What it costs
Unkeyed requests are entered only while a key is in flight or remembered (`awake`); the first key after a silence makes
the inbound side enter those that are in flight then. Memory is three generations of a dictionary: what ends goes into
the young one, a rotation (when that is GENERATION_SECONDS old, or full) forgets the oldest. So nothing has a
timer of its own, and ids and keys are bytes and strings, which the garbage collector need not visit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from proxy.routing.served import Served
from proxy.routing.trace import EXAMPLES

GENERATION_SECONDS: Final = 60.0
GENERATIONS: Final = 3
TRACE_SECONDS: Final = GENERATION_SECONDS * (GENERATIONS - 1)
"""How long an id is remembered at least after its last request has ended, up to 1,000 keyed requests per second: queues
and retries. More of them, or more ids for each, make it less; `lifetime` tells."""

MAX_REMEMBERED: Final = 200_000
"""Names per generation: 1,000 requests/s x 60 s x 3 (a trace by its 128 and by its 64 bits, and a request id), and a
tenth. A name of at most 65 bytes and its place in a dictionary take 130 to 180 bytes, three generations of them 78 to
108 MB; a sidecar that sees 10 keyed requests per second has 1 MB of that. What is in flight comes on top: at most 16
names for each request."""

SUSPECTS: Final = 4
SUSPECTS_LOOKED_AT: Final = 64
"""Requests in flight that are asked for the key that a call may have lost: a hint, and it costs what it costs."""

UNKNOWN: Final = ""
UNKEYED: Final = "!"
"""In place of a key, of a request that has none. No key has this character (`proxy.contract.names`)."""
DISPUTED: Final = "?"
"""In place of a key, of an id that names none because it would name two."""


class Flight:
    """A request in flight and its claim to its ids.

    key:    its key, or UNKEYED.
    served: who served the calls that the application made for it.
    shared: the same of calls of which only an id is known that other requests in flight have as well.
    losses: calls that may have lost a key before it began.
    hop:    the id of its hop record, b"" when it leaves none; of several with one id the latest. `trace` goes with it.
    """

    __slots__ = ("hop", "key", "losses", "served", "shared", "trace")

    def __init__(self, key: str, losses: int) -> None:
        self.key = key
        self.losses = losses
        self.served: Served | None = None  # most requests end without
        self.shared: Sequence[Flight] = ()
        self.hop = b""
        self.trace = b""

    def __repr__(self) -> str:
        return f"<Flight {self.key}>"

    def collect(self, value: bytes) -> None:
        """Add the value of an answer's `skycap-served-by`."""
        if self.served is None:
            self.served = Served()
        self.served.add(value)

    @property
    def calls(self) -> bytes:
        """The items of all that served its calls, as they stand behind its own, b"" for none."""
        if not self.shared:
            return self.served.value if self.served is not None else b""
        everybody = Served()
        for flight in (self, *self.shared):
            if flight.served is not None:
                everybody.add(flight.served.value)
        return everybody.value


class _Crowd(Flight):
    """All requests in flight with one id, when they are more than one or their claim is disputed.

    key:   what all of them have, or DISPUTED.
    count: how many they are.
    """

    __slots__ = ("count",)

    def __init__(self, key: str) -> None:
        super().__init__(key, 0)
        self.count = 1


class Correlation:
    """id -> routing key, for one sidecar.

    clock: seconds, monotonic; asked at rotations only.
    mark:  what the ids begin with that this sidecar makes (`proxy.routing.context`).
    limit: ids per generation.

    awake:           a key is in flight or remembered: unkeyed requests are to be entered as well.
    keyed_in_flight: requests.
    losses:          calls that may have lost their key.
    disputes:        ids that two have claimed.
    dropped:         ids forgotten before their time because a generation was full.
    lifetime:        seconds for which the ids that were forgotten last had been remembered at least.
    """

    __slots__ = (
        "_begun", "_clock", "_falling", "_in_flight", "_limit", "_made", "_middle", "_old", "_young", "awake",
        "disputes", "dropped", "keyed_in_flight", "lifetime", "losses", "mark",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float], mark: bytes, limit: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self.mark = mark
        self._made = (mark, b"=" + mark)
        self._limit = limit
        self._in_flight: dict[bytes, Flight] = {}
        # A key or DISPUTED, by id.
        self._young: dict[bytes, str] = {}
        self._middle: dict[bytes, str] = {}
        self._old: dict[bytes, str] = {}
        self._falling: list[dict[bytes, str]] = []
        self._begun = (clock(), clock())
        """When the young generation was begun, and the middle one."""
        self.awake = False
        self.keyed_in_flight = 0
        self.losses = 0
        self.disputes = 0
        self.dropped = 0
        self.lifetime = TRACE_SECONDS

    def __repr__(self) -> str:
        return f"<Correlation {len(self)} remembered, {len(self._in_flight)} in flight>"

    def __len__(self) -> int:
        """How many ids are remembered."""
        return len(self._young) + len(self._middle) + len(self._old)

    # -- the inbound side -----------------------------------------------------------------------------------------

    def enter(self, names: Sequence[bytes], key: str) -> Flight:
        """A request begins. The result goes back into `leave`, with the same names.

        names: of its ids, each once (`proxy.routing.trace.names`); key: UNKEYED without one.
        """
        flight = Flight(key, self.losses)
        in_flight, young, middle, old = self._in_flight, self._young, self._middle, self._old
        for name in names:
            if (
                name in in_flight
                or (name in young and young[name] != key)
                or (name in middle and middle[name] != key)
                or (name in old and old[name] != key)
            ):
                self._claim(name, flight)
            else:
                in_flight[name] = flight
        if key is not UNKEYED:
            self.keyed_in_flight += 1
            self.awake = True
        return flight

    def leave(self, names: Sequence[bytes], flight: Flight) -> None:
        """A request that entered with these names has ended."""
        in_flight, young, key = self._in_flight, self._young, flight.key
        if key is UNKEYED:
            for name in names:
                if in_flight[name] is flight:
                    del in_flight[name]
                else:
                    self._give_up(name)
            return
        for name in names:
            if in_flight[name] is flight:
                del in_flight[name]
                if name not in EXAMPLES:
                    young[name] = key
            else:
                self._give_up(name)
        self.keyed_in_flight -= 1
        if len(young) > self._limit:
            self.rotate()

    def _claim(self, name: bytes, flight: Flight) -> None:
        """A request begins with an id that somebody has or had."""
        held = self._in_flight.get(name)
        if held is None:
            self._in_flight[name] = _Crowd(DISPUTED)  # by another key, or by two
            self.disputes += self._remembered(name) != DISPUTED
            return
        if not isinstance(held, _Crowd):
            crowd = self._in_flight[name] = _Crowd(held.key)
            held.shared = (*held.shared, crowd)
            held = crowd
        held.count += 1
        if held.key == flight.key:
            flight.shared = (*flight.shared, held)
        elif held.key != DISPUTED:
            held.key = DISPUTED
            self.disputes += 1

    def _give_up(self, name: bytes) -> None:
        """A request ends whose id others had as well."""
        crowd = self._in_flight[name]
        assert isinstance(crowd, _Crowd)
        crowd.count -= 1
        if not crowd.count:
            del self._in_flight[name]
            if crowd.key == DISPUTED or (crowd.key != UNKEYED and name not in EXAMPLES):
                self._young[name] = crowd.key

    # -- the outbound side ----------------------------------------------------------------------------------------

    def recall(self, ids: Sequence[bytes]) -> str:
        """The key of a call with these ids; UNKEYED when it belongs to an unkeyed request, DISPUTED when its ids do not
        agree or would name two, UNKNOWN when nobody knows them."""
        agreed = UNKNOWN
        disputed = contradicted = False
        for ident in ids:
            key = self._named(ident)
            if key == DISPUTED:
                disputed = True
            elif key:
                if ident.startswith(self._made):
                    return key
                contradicted = contradicted or (agreed != UNKNOWN and agreed != key)
                agreed = key
        if contradicted or (disputed and not agreed):
            return DISPUTED
        return agreed

    def flight(self, ids: Sequence[bytes], key: str) -> Flight | None:
        """Where the answer to a call with these ids and this key is collected; None when no request in flight has one
        of them without dispute."""
        for ident in ids:
            for name in self._alternatives(ident):
                flight = self._in_flight.get(name)
                if flight is not None and flight.key == key:
                    return flight
        return None

    def suspects(self) -> list[str]:
        """Keys that are in flight now, of which a call may have lost one; SUSPECTS at most."""
        found: list[str] = []
        for flight in islice(self._in_flight.values(), SUSPECTS_LOOKED_AT):
            key = flight.key
            if key not in found and key not in (UNKEYED, DISPUTED):
                found.append(key)
                if len(found) == SUSPECTS:
                    break
        return found

    def _alternatives(self, ident: bytes) -> Sequence[bytes]:
        """The names under which an id may have been entered."""
        if ident.startswith(b"="):
            return (ident,)
        if len(ident) == 16:
            return ident, b"~" + ident
        return ident, ident[16:]

    def _named(self, ident: bytes) -> str:
        """What one id names: a key, UNKEYED, DISPUTED or UNKNOWN."""
        found = UNKNOWN
        for name in self._alternatives(ident):
            flight = self._in_flight.get(name)
            key = self._remembered(name) if flight is None else flight.key
            if key and len(ident) == 32:
                return key  # its 128 bits, or the 64 of somebody who has no more
            if found and key and found != key:
                return DISPUTED
            found = found or key
        return found

    def _remembered(self, name: bytes) -> str:
        return self._young.get(name) or self._middle.get(name) or self._old.get(name) or UNKNOWN

    # -- time -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """To be called every now and then: rotates when the young generation is old enough."""
        if self._clock() - self._begun[0] >= GENERATION_SECONDS:
            self.rotate()

    def rotate(self) -> None:
        """Begin a new generation and forget the oldest."""
        now = self._clock()
        closed = self._begun[1]  # the old generation, when the middle one was begun
        if self._old:
            self.lifetime = now - closed
            if self.lifetime < TRACE_SECONDS:
                self.dropped += len(self._old)
            self._falling = [*self._falling[-1:], self._old]
        self._old, self._middle, self._young = self._middle, self._young, {}
        self._begun = (now, self._begun[0])
        self.awake = self.keyed_in_flight > 0 or bool(self._middle or self._old)

    def release(self, count: int) -> bool:
        """Let go of `count` forgotten ids: all of a generation at once are a pause. False when none are left."""
        if not self._falling:
            return False
        falling = self._falling[0]
        for _ in range(min(count, len(falling))):
            falling.popitem()
        if not falling:
            del self._falling[0]
        return bool(self._falling)
