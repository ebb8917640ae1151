"""A connection to an endpoint, for one client's connection: what it says cannot reach anybody else's streams."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.errors import Failure
from proxy.exchange.h2.intake import CONNECTION_WINDOW
from proxy.exchange.h2.link import Link
from proxy.exchange.h2.mirror import tell_all
from proxy.exchange.phase import WAITING
from proxy.exchange.ports import FAR, Pool, Upstream
from proxy.wire.h2.faults import NO_ERROR, ConnectionFault
from proxy.wire.h2.frames import PREFACE, goaway_frame, window_frame
from proxy.wire.h2.settings import (
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    settings_frame,
)

if TYPE_CHECKING:
    from proxy.exchange.h2.client import ClientLink
    from proxy.exchange.h2.flow import Flow
    from proxy.exchange.h2.way import StreamWay

UNLIMITED: Final = 1 << 31
"""Streams, of a peer that has not said how many it takes (RFC 9113 section 6.5.2)."""

FIRST_STREAMS: Final = 100
"""Those that are begun before it can have said so: it should take as many, and those above would be refused."""


class ServerLink(Link):
    """Implements the ports `Borrower` and `Timed`.

    leaving: no stream is begun on it any more.
    backlog: streams that wait for the connection, or for room on it.
    limit:   how many streams the peer takes at a time.
    """

    __slots__ = ("_settled", "backlog", "due", "leaving", "limit", "pool", "slot", "upstream")

    def __init__(self, client: ClientLink, pool: Pool) -> None:
        super().__init__(2 * client.side.kinds.max_fields)
        self.client = client
        self.pool = pool
        self.upstream: Upstream | None = None
        self.leaving = False
        self.backlog: deque[StreamWay] = deque()
        self.limit = FIRST_STREAMS
        self._settled = False
        self.due = 0
        self.slot = FAR

    def __repr__(self) -> str:
        state = "closed" if self.closed else "leaving" if self.leaving else "open" if self.stream else "dialling"
        return f"<ServerLink {self.pool.endpoint} {state} streams={len(self.flows)} waiting={len(self.backlog)}>"

    @property
    def answer(self) -> ServerLink:
        """The receiver of the upstream's bytes."""
        return self

    # -- its connection ------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        wheel = self.client.side.wheel
        self.due = wheel.now + self.client.side.settings.connect_ticks
        wheel.arm(self)
        self.pool.dial(self)

    def connected(self, upstream: Upstream) -> None:
        upstream.borrower = self
        self.upstream = upstream
        self.stream = upstream.stream
        self.due = 0
        self.client.side.wheel.disarm(self)
        self.write(
            PREFACE
            + settings_frame(((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, self.client.initial)))
            + window_frame(0, CONNECTION_WINDOW - DEFAULT_WINDOW)
        )
        if self.client.clogged:
            self.stream.pause_reading()
        self.client.flush()
        for exchange in self.backlog:
            exchange.has_no_room()

    def dial_failed(self, reason: str) -> None:
        self.client.side.counters.upstream_dial_failures += 1
        self._never_was()
        for exchange in self._abandoned():
            exchange.dial_failed(reason)
        self.client.flush()

    def dial_refused(self, failure: Failure, detail: str) -> None:
        self._never_was()
        for exchange in self._abandoned():
            exchange.fail(failure, detail)
        self.client.flush()

    def _never_was(self) -> None:
        self.closed = True
        self.client.side.wheel.disarm(self)
        self.due = 0
        self.client.dismiss(self)

    def _abandoned(self) -> list[StreamWay]:
        """The streams that waited for it; they do no more."""
        backlog, self.backlog = self.backlog, deque()
        for exchange in backlog:
            exchange.server = None
        return list(backlog)

    def expired(self) -> None:
        self.client.side.counters.timeouts["connect"] += 1
        self.pool.forget(self)
        self.dial_failed("no connection in time")

    # -- streams -------------------------------------------------------------------------------------------------------

    def assign(self, exchange: StreamWay) -> None:
        """A stream with a higher number than all before. It is sent as soon as there is a connection and room."""
        self.last = exchange.sid
        if exchange.moved and not self._settled:
            self.limit = 0  # it is not sent into the next refusal
        if self.stream is None or self.clogged or self.backlog or len(self.flows) >= self.limit:
            self.backlog.append(exchange)
        else:
            exchange.send(self)

    def push(self) -> None:
        backlog = self.backlog
        while backlog and self.stream is not None and not self.clogged and len(self.flows) < self.limit:
            backlog.popleft().send(self)
        super().push()

    def let_go(self, exchange: StreamWay) -> None:
        """A stream has ended, or goes elsewhere."""
        self.nuisances.earned += 10
        if self.flows.pop(exchange.sid, None) is None and exchange in self.backlog:
            self.backlog.remove(exchange)
        if self.closed:
            return
        if self.backlog:
            self.client.dirty.append(self)  # there is room, when what was read has been passed on
        elif not self.flows and (self.leaving or not self.client.is_newest(self)):
            self.close()

    def moved(self) -> None:
        """The endpoint's name leads elsewhere by now: its streams go on, the next one begins on another connection."""
        self.leaving = True
        self.client.retire(self)
        if not self.flows and not self.backlog:
            self.close()

    def close(self) -> None:
        """It has no streams, and gets none."""
        self.closed = True
        self.client.dismiss(self)
        upstream, self.upstream = self.upstream, None
        if upstream is None:
            self.client.side.wheel.disarm(self)
            self.due = 0
            self.pool.forget(self)
            return
        self._part(upstream, goaway_frame(0, NO_ERROR))

    def _part(self, upstream: Upstream, words: bytes) -> None:
        upstream.borrower = None
        self.end(words)
        upstream.stream.close()
        self.stream = None

    def client_lost(self) -> None:
        """The client is gone: so is everything that was on its way for it."""
        if self.upstream is not None and self.flows:
            self.closed = True
            upstream, self.upstream = self.upstream, None
            self.stream = None
            upstream.borrower = None
            self.client.side.reset(upstream.stream)
        else:
            self.close()

    # -- frames --------------------------------------------------------------------------------------------------------

    def headers(self, sid: int, flags: int, block: bytes) -> None:
        flow = self.flows.get(sid)
        if flow is not None:
            flow.exchange.answer_block(block, flags)

    def was_reset(self, sid: int, code: int) -> None:
        self.flows[sid].exchange.reset_by_server(code)

    def reset_by_us(self, sid: int, flow: Flow | None, code: int) -> None:
        if flow is not None:
            flow.exchange.bad_answer("it breaks a rule of HTTP/2 on its stream")

    def told(self, values: dict[int, int]) -> None:
        if not self._settled:
            self._settled = True
            self.limit = UNLIMITED
        self.limit = values.get(MAX_CONCURRENT_STREAMS, self.limit)
        if self.backlog:
            self.client.dirty.append(self)
        if self.initial > self.client.granted:
            self.client.grant_more(self.initial)
            if self.initial > self.client.granted:
                for answer in self.flows.values():
                    tell_all(answer.exchange)
        if values.get(ENABLE_CONNECT_PROTOCOL):
            self.client.announce_connect()

    def leaves(self, last: int) -> None:
        self.leaving = True
        self.client.retire(self)
        why = "said GOAWAY before it had looked at the stream"
        counts = not last or not self.limit
        waited = self._abandoned()
        # One that is being answered was looked at, whatever is said of it.
        above = [flow.exchange for sid, flow in self.flows.items() if sid > last]
        for exchange in [exchange for exchange in above if exchange.phase == WAITING]:
            exchange.refused(why)
        for exchange in waited:  # others were served meanwhile: that cannot go on for ever
            exchange.refused(why, counts=counts)
        if not self.closed and not self.flows:
            self.close()

    def check_idle(self, sid: int) -> None:
        """What it says of streams that have ended is old news; of others, nonsense that hurts nobody."""

    def stray(self, sid: int, size: int) -> None:
        """As above. A stream that its client has cancelled may have a window of small frames under way."""
        if not size:
            self.annoyed()

    def no_settings(self, data: bytes) -> str:
        if data.startswith(b"HTTP/1"):
            return "it speaks HTTP/1 and not HTTP/2, and a request in HTTP/2 is not translated"
        return super().no_settings(data)

    def failed(self, fault: ConnectionFault) -> None:
        self.closed = True
        self.client.retire(self)
        streams = [flow.exchange for flow in self.flows.values()]
        self.flows.clear()
        for exchange in [*streams, *self._abandoned()]:
            exchange.bad_answer(f"it breaks a rule of HTTP/2: {fault.detail}")
        upstream, self.upstream = self.upstream, None
        assert upstream is not None
        self._part(upstream, goaway_frame(0, fault.code, fault.detail.encode()))
        self.client.dismiss(self)

    # -- the connection's end, back-pressure ---------------------------------------------------------------------------

    def upstream_eof(self) -> bool:
        return False

    def upstream_lost(self, *, error: bool) -> None:
        self.closed = True
        self.upstream = self.stream = None
        self.discard()
        self.client.retire(self)
        self.client.dismiss(self)
        streams = [flow.exchange for flow in self.flows.values()]
        self.flows.clear()
        for exchange in [*streams, *self._abandoned()]:
            exchange.lost("reset" if error else "closed")
        self.client.flush()

    def upstream_full(self) -> None:
        self.client.side.counters.paused_downstream += 1
        self.park()

    def upstream_drained(self) -> None:
        for sid, answer in self.flows.items():
            exchange = answer.exchange
            if exchange.granted:
                self.write(window_frame(sid, exchange.granted))
                exchange.granted = 0
        if self.backlog:
            self.client.dirty.append(self)
        self.unpark()
        self.client.flush()
