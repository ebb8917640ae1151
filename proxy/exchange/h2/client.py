"""A client's connection: it begins streams, and owns the connections to the endpoints that they go to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.errors import DRAINING, OVERLOADED
from proxy.exchange.h2.budget import MAX_STREAMS, RAPID_SECONDS, RESETS, Budget
from proxy.exchange.h2.cut import Cut
from proxy.exchange.h2.flow import KEPT, LAST, OVER, Flow
from proxy.exchange.h2.intake import CONNECTION_WINDOW
from proxy.exchange.h2.link import Link
from proxy.exchange.h2.mirror import told_window
from proxy.exchange.h2.outlet import Outlet
from proxy.exchange.h2.replies import HOP_BYTES, HOP_LITERAL
from proxy.exchange.h2.server import ServerLink
from proxy.exchange.h2.stream import StreamExchange
from proxy.exchange.passage import Passage
from proxy.exchange.ports import FAR, Pool, Stream, Upstream
from proxy.exchange.side import Side
from proxy.wire.h2.faults import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    ConnectionFault,
    StreamFault,
)
from proxy.wire.h2.frames import END_STREAM, MAX_WINDOW, PREFACE, goaway_frame, header_frames, window_frame
from proxy.wire.h2.rules import check_ends, check_trailers
from proxy.wire.h2.settings import (
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    settings_frame,
)
from proxy.wire.h2.template import fields_of, without

_OURS: Final = frozenset({b"skycap-"})


class ClientLink(Link):
    """Implements the port `Timed`. What the client sends goes to `received`, its end to `client_eof` and `client_lost`.

    peer:    the client's address, where its side wants to have it forwarded.
    granted: the initial window that the client was told.
    kept:    what is kept of its requests, in case they have to be sent again.
    dirty:   the links that have something to write.
    due, slot: as in the port; the deadlines of all streams are looked at here.
    """

    __slots__ = (
        "_connects", "_cut", "_cut_due", "_idle_due", "_leaving", "_newest", "_resets", "_servers",
        "dirty", "due", "ended", "granted", "kept", "peer", "side", "slot",
    )  # fmt: skip

    def __init__(self, side: Side, stream: Stream, peer: bytes = b"") -> None:
        super().__init__(2 * side.kinds.max_fields)
        self.client = self
        self.side = side
        self.stream = stream
        self.peer = peer
        self.granted = DEFAULT_WINDOW
        self.kept = 0
        self.dirty: list[Outlet] = []
        self.due = 0
        self.slot = FAR
        self.ended = False
        self._servers: list[ServerLink] = []
        self._newest: dict[Pool, ServerLink] = {}
        self._resets = Budget()
        self._leaving = False
        self._connects = False
        self._cut = Cut()
        self._cut_due = 0
        self._idle_due = side.wheel.now + side.settings.idle_ticks

    def __repr__(self) -> str:
        state = "closed" if self.closed else "leaving" if self._leaving else "open"
        return f"<ClientLink {state} streams={len(self.flows)} upstreams={len(self._servers)}>"

    def begin(self, data: bytes) -> None:
        """What the client has sent by now, its preface included."""
        self.side.counters.http2 += 1
        most = self.side.kinds.max_bytes
        self.write(
            settings_frame(
                ((HEADER_TABLE_SIZE, 0), (MAX_CONCURRENT_STREAMS, MAX_STREAMS), (MAX_HEADER_LIST_SIZE, most))
            )
            + window_frame(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
        )
        self.look_at(self._idle_due)
        self.received(data[len(PREFACE) :])
        if self.side.draining:
            self.drain(last_call=False)

    def received(self, data: bytes) -> None:
        before = len(self.held)
        super().received(data)
        held = len(self.held)
        if not held:
            self._cut_due = 0
        elif not before or held < before + len(data):  # frames were completed: the time is that of the next one
            self._cut_due = self.side.wheel.now + self.side.settings.header_ticks
            self.look_at(self._cut_due)

    def flush(self) -> None:
        """Send what was written, to everybody."""
        dirty = self.dirty
        while dirty:
            dirty.pop().push()
        if self._leaving and not self.flows and not self.closed:
            self._close()

    @property
    def idle_since(self) -> int:
        """The tick at which its last stream ended; of use while it has none."""
        return self._idle_due - self.side.settings.idle_ticks

    @property
    def passages(self) -> Iterator[Passage]:
        """The requests in hand."""
        for flow in self.flows.values():
            yield flow.exchange.passage

    # -- streams -------------------------------------------------------------------------------------------------------

    def headers(self, sid: int, flags: int, block: bytes) -> None:
        if sid <= self.last or not sid & 1:
            self._trailers(sid, flags, block)
            return
        self.last = sid
        if len(self.flows) >= MAX_STREAMS or self._leaving:
            self.annoyed()
            self.side.counters.failures[DRAINING.code if self._leaving else OVERLOADED.code] += 1
            self.reset_stream(sid, REFUSED_STREAM)
            return
        cause = b""
        if block[-HOP_BYTES:-16] == HOP_LITERAL:
            cause, block = block[-16:], block[:-HOP_BYTES]
            self.whole = 0
        try:
            kind, head = self.side.kinds.request(block, asleep=not self.side.correlation.awake)
        except StreamFault as fault:
            self.annoyed()
            self.reset_stream(sid, fault.code)
            return
        if cause.strip(b"0123456789abcdef"):
            cause = b""
        head.cause = cause or None
        self._idle_due = 0
        if flags & END_STREAM and head.expects > 0:
            self.annoyed()
            self.reset_stream(sid, PROTOCOL_ERROR)  # section 8.1.1: content that was announced, and none
            return
        StreamExchange(self, sid, kind, head, flags).begin()

    def _trailers(self, sid: int, flags: int, block: bytes) -> None:
        flow = self.flows.get(sid)
        if flow is None:
            self.check_idle(sid)
            if sid not in self._cut:
                raise ConnectionFault(STREAM_CLOSED, "a block for a stream that is over, or was skipped (section 5.1)")
            self.annoyed()  # it was under way when we ended the stream
            return
        if flow.state & (LAST | OVER):
            self.reset_by_us(sid, flow, STREAM_CLOSED)
            return
        try:
            if not flags & END_STREAM:
                raise StreamFault(PROTOCOL_ERROR, "trailers that are not the end (section 8.1)")
            if 0 <= flow.expects != flow.bytes:
                raise StreamFault(PROTOCOL_ERROR, "less content than was announced (section 8.1.1)")
            fields = fields_of(block, self.side.kinds.max_fields)
            check_trailers(fields)
            for _, value in fields:
                check_ends(value)
        except StreamFault as fault:
            self.reset_by_us(sid, flow, fault.code)
            return
        clean = without(block, _OURS)
        if flow.state & KEPT:
            flow.exchange.keep(flow, header_frames(sid, END_STREAM, clean))
        self.pass_end_on(sid, flow, clean, changed=clean is not block)

    def server_for(self, pool: Pool, sid: int) -> ServerLink:
        """A connection to an endpoint on which a stream of this number can begin."""
        server = self._newest.get(pool)
        if server is None or server.last >= sid:
            server = self._newest[pool] = ServerLink(self, pool)
            self._servers.append(server)
            server.dial()
        return server

    def adopt(self, pool: Pool, upstream: Upstream) -> None:
        """A connection to an endpoint is there already."""
        server = self._newest[pool] = ServerLink(self, pool)
        self._servers.append(server)
        server.connected(upstream)

    def is_newest(self, server: ServerLink) -> bool:
        return self._newest.get(server.pool) is server

    def retire(self, server: ServerLink) -> None:
        """No stream is begun on it any more."""
        if self.is_newest(server):
            del self._newest[server.pool]

    def dismiss(self, server: ServerLink) -> None:
        """It is gone."""
        self.retire(server)
        self._servers = [other for other in self._servers if other is not server]

    def ended_one(self, *, served: bool) -> None:
        """A stream has ended. served: as its client wanted it."""
        if served:
            self._resets.earned += 1
            self.nuisances.earned += 10
        if not self.flows:
            self._idle_due = self.side.wheel.now + self.side.settings.idle_ticks
            self.look_at(self._idle_due)

    # -- the peer ------------------------------------------------------------------------------------------------------

    def was_reset(self, sid: int, code: int) -> None:
        self._taken_back(self.flows[sid], code)

    def reset_by_us(self, sid: int, flow: Flow | None, code: int) -> None:
        self.reset_stream(sid, code)
        if flow is not None:
            self._taken_back(flow, PROTOCOL_ERROR)

    def _taken_back(self, flow: Flow, code: int) -> None:
        """The client has ended one of its streams, or made us do it. Raises ConnectionFault."""
        side, exchange = self.side, flow.exchange
        lived = side.clock() - exchange.passage.started
        if lived < RAPID_SECONDS and self._resets.spend(side.wheel.now) > RESETS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "streams that are begun and taken back")
        exchange.reset_by_client(code)

    def told(self, values: dict[int, int]) -> None:
        if INITIAL_WINDOW_SIZE in values:
            for server in self._servers:
                if server.stream is not None:
                    server.write(settings_frame(((INITIAL_WINDOW_SIZE, self.initial),)))

    def grant_more(self, initial: int) -> None:
        """An upstream takes more of a new stream than the client was told. All streams may have it, unless one of their
        windows would overflow."""
        step = initial - self.granted
        if any(told_window(flow.exchange) + step > MAX_WINDOW for flow in self.flows.values()):
            return
        self.granted = initial
        self.write(settings_frame(((INITIAL_WINDOW_SIZE, initial),)))

    def announce_connect(self) -> None:
        """An upstream takes extended CONNECT (RFC 8441 section 3)."""
        if not self._connects:
            self._connects = True
            self.write(settings_frame(((ENABLE_CONNECT_PROTOCOL, 1),)))

    def leaves(self, last: int) -> None:
        """It begins no streams any more, and closes when those that it has are over."""

    def check_idle(self, sid: int) -> None:
        if sid > self.last or not sid & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "a frame for a stream that was not begun (section 5.1)")

    def reset_stream(self, sid: int, code: int) -> None:
        self._cut.add(sid)
        super().reset_stream(sid, code)

    def stray(self, sid: int, size: int) -> None:
        self.check_idle(sid)
        if size and sid in self._cut:
            return  # it was under way when we ended the stream, up to a window of it
        self.annoyed()
        self.reset_stream(sid, STREAM_CLOSED)

    def failed(self, fault: ConnectionFault) -> None:
        self.side.counters.failures["http2-" + _NAMES.get(fault.code, "error")] += 1
        self._give_up()
        self.write(goaway_frame(self.last, fault.code, fault.detail.encode()))
        self._close()

    # -- the connection's end ------------------------------------------------------------------------------------------

    def client_eof(self) -> bool:
        """The client sends no more. True: keep the way back open, for what is asked in full. A gRPC client has gone."""
        self.ended = self._leaving = True
        for flow in list(self.flows.values()):
            if flow.exchange.head.grpc or not flow.state & (LAST | OVER):
                flow.exchange.reset_by_client(CANCEL)
        self.flush()
        return bool(self.flows)

    def client_lost(self) -> None:
        self._give_up()
        self.closed = True
        self.stream = None
        self.due = 0
        self.side.wheel.disarm(self)

    def _give_up(self) -> None:
        """All streams have ended with their client."""
        for server in list(self._servers):
            server.client_lost()
        for flow in list(self.flows.values()):
            flow.exchange.client_gone()
        self._servers.clear()
        self._newest.clear()
        self.dirty.clear()

    def _close(self) -> None:
        """Close when the client has taken what was written for it, for which it has the time of an idle connection."""
        self.push()
        self.dirty.clear()
        for server in list(self._servers):
            server.close()
        self.closed = True
        self.held = b""
        self.due = self.side.wheel.now + self.side.settings.idle_ticks
        self.side.wheel.arm(self)
        assert self.stream is not None
        self.stream.close()

    def drain(self, *, last_call: bool) -> None:
        """The sidecar is about to end: no new streams, after a moment in which those that are on their way arrive."""
        if self.closed:
            return
        for flow in list(self.flows.values()):
            flow.exchange.drain()
        self.write(goaway_frame(self.last if last_call else MAX_WINDOW, NO_ERROR))
        self._leaving = self._leaving or last_call
        self.flush()

    # -- time, back-pressure -------------------------------------------------------------------------------------------

    def look_at(self, due: int) -> None:
        """Something has a deadline at that tick."""
        if not self.due or due < self.due:
            self.due = due
            if due < self.slot:
                self.side.wheel.arm(self)

    def expired(self) -> None:
        now, timeouts = self.side.wheel.now, self.side.counters.timeouts
        if self.closed:
            assert self.stream is not None
            self.side.reset(self.stream)  # closed, but what was written for it has not been taken
            return
        if self._cut_due and self._cut_due <= now:
            timeouts["header"] += 1
            self._give_up()
            self.write(goaway_frame(self.last, PROTOCOL_ERROR, b"a frame was not complete in time"))
            self._close()
            return
        if self._idle_due and self._idle_due <= now:
            timeouts["idle"] += 1
            self.write(goaway_frame(self.last, NO_ERROR))
            self._close()
            return
        for flow in list(self.flows.values()):
            if 0 < flow.exchange.due <= now:
                flow.exchange.expired()
        for due in (self._cut_due, self._idle_due, *[flow.exchange.due for flow in self.flows.values()]):
            if due:
                self.look_at(due)
        self.flush()

    def client_full(self) -> None:
        """The client takes no more: nothing is read from upstreams, which have streams for nobody else."""
        self.side.counters.paused_upstream += 1
        self.park()
        assert self.stream is not None
        self.stream.pause_reading()
        for server in self._servers:
            if server.stream is not None:
                server.stream.pause_reading()

    def client_drained(self) -> None:
        self.unpark()
        assert self.stream is not None
        self.stream.resume_reading()
        for server in self._servers:
            if server.stream is not None:
                server.stream.resume_reading()
        for link in (self, *self._servers):
            link.turn_came()
        self.flush()


_NAMES: Final = {PROTOCOL_ERROR: "protocol-error", ENHANCE_YOUR_CALM: "flood"}
