"""The exchange by playbook: bytes and events in, bytes and calls out.

Everything is real (parser, table, correlation, timer wheel) but what `proxy.exchange.ports` describes: connections and
the pools that they come from are played by the test, which also is the only clock.

    book = Playbook(routes=[ready("agent-42")])
    client = book.connect(book.inbound())
    client.send(b"GET / HTTP/1.1\\r\\nhost: users\\r\\n\\r\\n")
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    assert client.got == ...

`step=1` delivers every byte string one byte at a time. A played peer behaves like a real one: what it sends while
the exchange does not read waits, and nothing arrives on a connection that was closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.contract.hops import Hop, decode_hop
from proxy.contract.previews import Link
from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.errors import LOOP
from proxy.exchange.carriers import Carriers
from proxy.exchange.exchange import Exchange
from proxy.exchange.gateway import Gateway
from proxy.exchange.inbound import Inbound
from proxy.exchange.outbound import Outbound
from proxy.exchange.passage import Passage
from proxy.exchange.ports import FAR, Borrower, SpliceOwner, Stream
from proxy.exchange.recorder import HopRecorder
from proxy.exchange.settings import ExchangeSettings
from proxy.exchange.side import Side, SideParts
from proxy.feed.hop_lines import hop_line
from proxy.net.timers import TimerWheel
from proxy.routing.correlation import Correlation
from proxy.routing.key import KeyReader
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.sides import head_parser
from proxy.telemetry.counters import Counters, SideCounters
from proxy.telemetry.hops import HopRing
from proxy.wire.head import Limits

WORKLOAD = "shop/users"
APP = Endpoint("127.0.0.1", 9001)
SHADOW = Endpoint("127.0.0.1", 9102)
TARGET = Endpoint("127.0.0.1", 9301)
REGISTRY = Endpoint("127.0.0.1", 7070)
INSTANCE = "5c1d"

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
"""The usual answer."""


def uncached(answer: bytes) -> bytes:
    """The same, as the answer to a request with a key."""
    return answer.replace(b"\r\n\r\n", b"\r\nvary: baggage\r\ncache-control: no-store\r\n\r\n", 1)


def get(path: str = "/", *lines: str) -> bytes:
    """A request without body."""
    return "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "host: users", *lines, "")).encode()


def keyed(key: str = "agent-42", path: str = "/", *lines: str) -> bytes:
    return get(path, f"baggage: routing-key={key}", *lines)


def ready(key: str = "agent-42", *endpoints: Endpoint, fallback: bool = False, revision: int = 3) -> Route:
    policy = OnUnavailable.BASELINE if fallback else OnUnavailable.ERROR
    return Route(WORKLOAD, key, endpoints or (SHADOW,), revision=revision, on_unavailable=policy)


def unready(key: str = "agent-42", state: State = State.PENDING, *, fallback: bool = False) -> Route:
    policy = OnUnavailable.BASELINE if fallback else OnUnavailable.ERROR
    return Route(WORKLOAD, key, (), state=state, on_unavailable=policy)


class RecordedStream:
    """A connection's way out, with the manners of uvloop's transports.

    writes: one entry per `write`; calls: everything else, in order.
    during_write: called in the middle of each write: that is when a transport says that it is full.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.reading = True
        self.ended = False
        self.closing = False
        self.lost = False
        self.during_write: Callable[[], None] | None = None
        self.peer: Peer | None = None
        self.source_of: PlayedSplice | None = None
        self.sink_of: PlayedSplice | None = None

    def write(self, data: bytes, /) -> None:
        assert self.sink_of is None, "written to while bytes are moved to it"
        assert not self.lost, "written to a connection that is gone"
        assert not self.ended, "written behind write_eof"
        assert not self.closing, "written to a connection that was closed"
        if data:
            self.writes.append(data)
        if self.during_write is not None:
            self.during_write()

    def write_eof(self) -> None:
        assert not self.lost, "ended a connection that is gone"
        self.calls.append("write_eof")
        self.ended = True

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")
        self.reading = False

    def resume_reading(self) -> None:
        assert self.source_of is None, "read while its bytes are moved"
        self.calls.append("resume_reading")
        self.reading = True

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("abort")

    def reset(self) -> None:
        """Not of the port: what `Side.reset` does."""
        self._end("reset")

    def _end(self, how: str) -> None:
        assert self.source_of is None, "closed while its bytes are moved"
        assert self.sink_of is None, "closed while bytes are moved to it"
        self.calls.append(how)
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)


def _reset(stream: Stream) -> None:
    assert isinstance(stream, RecordedStream)
    stream.reset()


def turn(side: Side) -> bool:
    """The loop's next turn. False: nothing was put off to it."""
    assert isinstance(side.wheel, TimerWheel)
    return side.wheel.turn()


class PlayedSplice:
    """Bytes that are moved without being read (port `Splice`). The test decides on every piece and on the end.

    holds: some are on their way.
    """

    def __init__(self, source: RecordedStream, sink: RecordedStream, count: int, owner: SpliceOwner) -> None:
        assert source.source_of is None
        assert sink.sink_of is None
        source.source_of = sink.sink_of = self
        self.left = count
        self.drained = 0
        self.holds = False
        self._source = source
        self._sink = sink
        self._owner = owner

    @property
    def over(self) -> bool:
        return self._source.source_of is not self

    def sink_drained(self) -> None:
        assert not self.over
        self.drained += 1

    def cancel(self) -> bool:
        if self.over:
            return False
        self._source.source_of = self._sink.sink_of = None
        return self.holds

    # -- what the test decides ------------------------------------------------------------------------------------

    def move(self) -> int:
        """All that the source has sent, as far as it belongs here. Returns how much that was."""
        assert not self.over
        assert not self._source.reading, "what is read cannot be moved"
        peer = self._source.peer
        assert peer is not None
        data = peer.take(self.left)
        self.left -= len(data)
        self._sink.writes.append(data)
        self._owner.splice_moved(len(data))
        if not self.left:
            self.end()
        return len(data)

    def fill(self) -> None:
        """The sink takes no more for now."""
        self.holds = True
        self._owner.splice_full()

    def end(self) -> None:
        """It is over: all is moved, or the source has ended, or it is not worth it."""
        peer = self._source.peer
        assert peer is not None
        self.cancel()
        self._owner.splice_done(self.left, behind=peer.unread > 0)

    def fail_source(self) -> None:
        self.cancel()
        self._owner.splice_source_failed()

    def fail_sink(self) -> None:
        self.cancel()
        self._owner.splice_sink_failed()


class PlayedSplicer:
    """Port `Splicer`. splices: all that were begun; refuses: as without pipes; refused: how often it did."""

    def __init__(self) -> None:
        self.splices: list[PlayedSplice] = []
        self.refuses = False
        self.refused = 0

    def splice(self, source: Stream, sink: Stream, count: int, owner: SpliceOwner, /) -> PlayedSplice | None:
        assert isinstance(source, RecordedStream)
        assert isinstance(sink, RecordedStream)
        if self.refuses:
            self.refused += 1
            return None
        self.splices.append(PlayedSplice(source, sink, count, owner))
        return self.splices[-1]

    def only(self) -> PlayedSplice:
        """The one that is under way."""
        (splice,) = [splice for splice in self.splices if not splice.over]
        return splice


class Peer:
    """What the played ends of connections have in common: they send, and see what they got."""

    def __init__(self, step: int) -> None:
        self.recorded = RecordedStream()
        self.recorded.peer = self
        self.stream: Stream = self.recorded
        self._step = step
        self._waiting = b""

    @property
    def got(self) -> bytes:
        """All that was written to it."""
        return self.recorded.sent

    @property
    def calls(self) -> list[str]:
        return self.recorded.calls

    def new(self) -> bytes:
        """What was written to it since the last call."""
        got = self.recorded.sent
        self.recorded.writes.clear()
        return got

    def send(self, data: bytes = b"") -> None:
        """Send, as far as the exchange reads, turn by turn of the loop. Without data: what could not be delivered
        before."""
        self._waiting += data
        while True:
            while self._waiting and self.recorded.reading and not self.recorded.closing:
                self.send_once()
            if not self._turn():
                break

    def send_once(self, data: bytes = b"") -> None:
        """What one read brings, and no turn of the loop after it."""
        self._waiting += data
        stop = self._step or len(self._waiting)
        piece, self._waiting = self._waiting[:stop], self._waiting[stop:]
        self._deliver(piece)

    def take(self, count: int) -> bytes:
        """What was sent and not read, up to so many bytes: as the kernel takes it."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    @property
    def unread(self) -> int:
        """Bytes that the exchange did not want to read yet."""
        return len(self._waiting)

    def _deliver(self, data: bytes) -> None:
        raise NotImplementedError

    def _turn(self) -> bool:
        """The loop's next turn. False: nothing was put off to it."""
        raise NotImplementedError


class Client(Peer):
    """The client of an exchange."""

    def __init__(self, side: Side, step: int) -> None:
        super().__init__(step)
        self.side = side
        self.exchange = Exchange(side, self.stream)

    @property
    def passages(self) -> Sequence[Passage]:
        """The requests in hand."""
        return [self.exchange.passage]

    def _deliver(self, data: bytes) -> None:
        self.exchange.request.received(data)

    def _turn(self) -> bool:
        return turn(self.exchange.side)

    def end(self) -> bool:
        """Close its sending half. When the exchange does not want to go on, its connection closes at once."""
        keep = self.exchange.client_eof()
        if not keep:
            self.vanish()
        return keep

    def vanish(self) -> None:
        if not self.recorded.lost:
            self.recorded.closing = self.recorded.lost = True
            self.exchange.client_lost()

    def full(self) -> None:
        self.exchange.client_full()

    def drained(self) -> None:
        self.exchange.client_drained()


class PlayedUpstream(Peer):
    """The other end of a connection to an application, a shadow or another sidecar (port `Upstream`).

    unasked: what it sent while nobody had the connection.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.borrower: Borrower | None = None
        self.reused = False
        self.broken = False
        self.due = 0
        self.slot = FAR
        self.since = 0
        self.unasked = b""

    def expired(self) -> None:
        if self.borrower is None:
            self.stream.abort()

    def _deliver(self, data: bytes) -> None:
        if self.borrower is None:
            self.unasked += data
        else:
            self.borrower.answer.received(data)

    def _turn(self) -> bool:
        return isinstance(self.borrower, Exchange) and turn(self.borrower.side)

    def end(self) -> bool:
        """Close its sending half. When the exchange does not want to go on, its connection closes at once."""
        keep = self.borrower is not None and self.borrower.upstream_eof()
        if not keep:
            self.vanish()
        return keep

    def vanish(self, *, error: bool = False) -> None:
        """error: by a reset."""
        self.recorded.closing = self.recorded.lost = True
        borrower, self.borrower = self.borrower, None
        if borrower is not None:
            borrower.upstream_lost(error=error or self.broken)

    def full(self) -> None:
        assert self.borrower is not None
        self.borrower.upstream_full()

    def drained(self) -> None:
        assert self.borrower is not None
        self.borrower.upstream_drained()


class PlayedPool:
    """Connections to one endpoint (port `Pool`); the test decides on every dial.

    dials:    exchanges that wait for one.
    dialled:  how many there have been.
    returned: what was given back, with the seconds that its other end keeps it.
    resting:  what was given back and is not to be lent at once.
    found_dead: what was lent and had been closed.
    """

    def __init__(self, endpoint: Endpoint, step: int) -> None:
        self.endpoint = endpoint
        self.idle: list[PlayedUpstream] = []
        self.dials: list[Borrower] = []
        self.dialled = 0
        self.returned: list[tuple[PlayedUpstream, int]] = []
        self.made: list[PlayedUpstream] = []
        self.resting: list[PlayedUpstream] = []
        self.found_dead: list[PlayedUpstream] = []
        self._step = step

    def dial(self, borrower: Borrower) -> None:
        assert borrower not in self.dials, "one dial at a time"
        self.dials.append(borrower)
        self.dialled += 1

    def forget(self, borrower: Borrower) -> None:
        if borrower in self.dials:
            self.dials.remove(borrower)

    def give(self, upstream: Any, idle_seconds: int, rests: bool = False) -> None:
        assert upstream.borrower is None, "given back, yet still in use"
        assert upstream.stream.reading, "given back without being read from: its end would go unnoticed"
        assert not upstream.stream.ended
        upstream.reused = True
        (self.resting if rests else self.idle).append(upstream)
        self.returned.append((upstream, idle_seconds))

    def wake(self) -> None:
        """All that rest have rested."""
        self.idle += self.resting
        self.resting.clear()

    def dead(self, upstream: Any) -> None:
        self.found_dead.append(upstream)

    # -- what the test decides ------------------------------------------------------------------------------------

    def accept(self) -> PlayedUpstream:
        """The oldest dial succeeds."""
        upstream = PlayedUpstream(self._step)
        self.made.append(upstream)
        self.dials.pop(0).connected(upstream)
        return upstream

    def refuse(self, reason: str = "connection refused") -> None:
        self.dials.pop(0).dial_failed(reason)

    def refuse_ourselves(self) -> None:
        self.dials.pop(0).dial_refused(LOOP, f"{self.endpoint} is one of this sidecar's own listeners")

    def keep(self) -> PlayedUpstream:
        """There is a connection in the pool that has carried exchanges before."""
        upstream = PlayedUpstream(self._step)
        upstream.reused = True
        self.made.append(upstream)
        self.idle.append(upstream)
        return upstream


class Clock:
    """Seconds, as many as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reports:
    """Port `Reporter`."""

    conflicts: list[tuple[str, str, str, str]] = field(default_factory=list)
    losses: list[tuple[str, str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    bugs: list[Exception] = field(default_factory=list)

    def key_conflict(self, winner: str, key: str, loser: str, other: str) -> None:
        self.conflicts.append((winner, key, loser, other))

    def key_lost(self, upstream: str, method: str, target: str, fields: Sequence[str], disputed: bool) -> None:
        self.losses.append((upstream, method, target))
        self.reasons.append(("disputed " if disputed else "") + ",".join(fields))

    def routing_failed(self, error: Exception) -> None:
        self.bugs.append(error)


@dataclass
class Spans:
    """Port `SpanRecorder`."""

    seen: list[tuple[str, str, int, str]] = field(default_factory=list)

    def __call__(self, passage: Passage, status: int, failure: str) -> None:
        assert passage.plan is not None
        self.seen.append((passage.head.method.decode(), passage.plan.key, status, failure))


class Playbook:
    """One sidecar without sockets.

    routes: the table, None when none was ever received.
    splices: whether large bodies can be moved without being read.
    step:   how many bytes are delivered at a time, 0 for all.
    hops:   requests leave hops in `ring`.
    """

    def __init__(
        self,
        *,
        routes: Sequence[Route] | None = (),
        step: int = 0,
        settings: ExchangeSettings | None = None,
        splices: bool = True,
        limits: Limits | None = None,
        key_headers: Sequence[str] = (),
        trace_headers: Sequence[str] = (),
        hops: bool = False,
    ) -> None:
        self.step = step
        self.ring = HopRing("0000abcd", lambda: None)
        self._hops = hops
        self.settings = settings or ExchangeSettings()
        self.limits = limits or Limits()
        self.wheel = TimerWheel()
        self.clock = Clock()
        self.counters = Counters()
        self.correlation = Correlation(lambda: self.wheel.now * 0.1, b"5ca1ab1e")
        self.reports = Reports()
        self.spans = Spans()
        self.splicer = PlayedSplicer()
        self._splices = splices
        self.gave_up = False
        self.clients: list[Any] = []
        self.sides: list[Side] = []
        self._key_headers = key_headers
        self._trace_headers = trace_headers
        self._pools: dict[Endpoint, PlayedPool] = {}
        self._random = 0
        self.links = LinkTable()
        self.table = RouteTable(WORKLOAD)
        if routes is not None:
            self.table.replace({route.key: route for route in routes})

    # -- building -------------------------------------------------------------------------------------------------

    def _recorder(self, side: str, sandbox: str = "", revision: int = 0) -> HopRecorder | None:
        if not self._hops:
            return None
        return HopRecorder(
            self.ring,
            self.clock,
            self.table.captures,
            workload=WORKLOAD,
            side=side,
            instance=INSTANCE,
            sandbox=sandbox,
            revision=revision,
        )

    def hops(self) -> list[Hop]:
        """The hops that were left since the last look, as the registry reads them."""
        return [decode_hop(hop_line(self.ring.take())) for _ in range(len(self.ring))]

    def _parts(self, counters: SideCounters, hops: HopRecorder | None = None) -> SideParts:
        return SideParts(
            hops=hops,
            workload=WORKLOAD,
            settings=self.settings,
            parser=head_parser(self.limits, (*self._key_headers, *self._trace_headers)),
            counters=counters,
            wheel=self.wheel,
            clock=self.clock,
            carriers=Carriers(KeyReader(("routing-key", "sd-routing-key"), self._key_headers), counters, self.reports),
            traces=TraceReader(self._trace_headers),
            correlation=self.correlation,
            pools=self.pool,
            reporter=self.reports,
            spans=self.spans,
            reset=_reset,
            splicer=self.splicer if self._splices else None,
            rules=self.table.rules,
        )

    def inbound(self, *, sandbox: str = "", revision: int = 0, forwarded: bool = False, port: int = 0) -> Inbound:
        side = Inbound(
            self._parts(self.counters.inbound, self._recorder("inbound", sandbox, revision)),
            app=APP,
            table=self.table,
            gave_up=lambda: self.gave_up,
            instance=INSTANCE,
            sandbox=sandbox,
            revision=revision,
            random_bits=self._random_bits,
            in_hand=self._in_hand,
            forwarded=forwarded,
            port=port,
        )
        self.table.watchers.append(side.table_changed)
        self.sides.append(side)
        return side

    def outbound(self, target: Endpoint | None = TARGET, *, own_key: str = "", relays: bool = False) -> Outbound:
        parts = self._parts(self.counters.outbound, self._recorder("outbound"))
        side = Outbound(parts, target=target, key_name="routing-key", own_key=own_key, relays=relays)
        self.sides.append(side)
        return side

    def gateway(self, *links: Link, domain: str = "localhost", registry: bool = True) -> Gateway:
        """It knows `links`, and more can be put into `links` of the playbook."""
        self.links.replace(links)
        side = Gateway(
            self._parts(self.counters.inbound),
            links=self.links,
            domain=domain,
            now=self.clock,
            registry=self.pool(REGISTRY) if registry else None,
            authorization=lambda: "Bearer of-a-sidecar",
        )
        self.sides.append(side)
        return side

    def _in_hand(self) -> Iterator[Passage]:
        for client in self.clients:
            if isinstance(client.side, Inbound):
                yield from client.passages

    def _random_bits(self, bits: int) -> int:
        """1, 2, 3, ..."""
        self._random += 1
        return self._random

    # -- playing --------------------------------------------------------------------------------------------------

    def connect(self, side: Side) -> Client:
        client = Client(side, self.step)
        self.clients.append(client)
        return client

    def pool(self, endpoint: Endpoint, /) -> PlayedPool:
        pool = self._pools.get(endpoint)
        if pool is None:
            pool = self._pools[endpoint] = PlayedPool(endpoint, self.step)
        return pool

    @property
    def app(self) -> PlayedPool:
        return self.pool(APP)

    @property
    def shadow(self) -> PlayedPool:
        return self.pool(SHADOW)

    @property
    def target(self) -> PlayedPool:
        return self.pool(TARGET)

    def pass_ticks(self, ticks: int) -> None:
        """Let time pass: as many ticks of the wheel as that."""
        for _ in range(ticks):
            self.wheel.advance()

    # -- judging --------------------------------------------------------------------------------------------------

    @property
    def armed(self) -> str:
        """What the wheel still watches: `items=N`."""
        return repr(self.wheel).partition(" ")[2].rpartition(" ")[2].rstrip(">")

    def ends_clean(self) -> None:
        """Every client goes; then nothing of any of them may be left behind."""
        for client in self.clients:
            client.vanish()
        assert self.correlation.keyed_in_flight == 0
        assert repr(self.correlation).endswith(" 0 in flight>")
        assert not any(side.waiters for side in self.sides)
        assert all(splice.over for splice in self.splicer.splices), "moved for connections that are gone"
        for pool in self._pools.values():
            assert not pool.dials, f"a dial of {pool.endpoint} that nobody waits for"
            for upstream in pool.made:
                assert upstream.borrower is None
                assert upstream in [*pool.idle, *pool.resting] or upstream.recorded.closing, (
                    "a connection that nobody owns"
                )
                upstream.recorded.lost = True
                self.wheel.disarm(upstream)
        assert self.armed == "items=0", "a deadline of something that has ended"


HOP_LINE = re.compile(rb"skycap-hop: [0-9a-f]{16}\r\n")


def untold(message: bytes) -> bytes:
    """A keyed request without the field that tells the next sidecar which hop caused it."""
    return HOP_LINE.sub(b"", message)


def proven(request: bytes, answer: bytes) -> bytes:
    """An answer as a sidecar gives it, which names the hop that it was told."""
    lines = HOP_LINE.findall(request)
    assert lines, "nobody was told a hop"
    return answer.replace(b"\r\n\r\n", b"\r\n" + lines[-1] + b"\r\n", 1)


def problem(answer: bytes) -> dict[str, Any]:
    """The problem document of an answer that we made ourselves."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert f"content-length: {len(body)}".encode() in head
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    assert b"\r\nskycap-error: " + document["code"].encode() in head
    return document


def field_lines(message: bytes, name: str) -> list[str]:
    """The values of a field in a message's head."""
    head = message.partition(b"\r\n\r\n")[0].decode("latin-1")
    pairs = [line.partition(":") for line in head.split("\r\n")[1:]]
    return [value.strip() for found, _, value in pairs if found.lower() == name]
