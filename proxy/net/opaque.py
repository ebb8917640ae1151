"""A connection that is not HTTP: bytes between the client and one upstream of its own, none of which are read.

    DIALLING ──connected──▶ JOINED ──both have ended, or one is lost──▶ CLOSED

While the upstream is dialled, what the client sends is held, up to `held_bytes`, then reading pauses. Joined, reading
from one end pauses while the other takes no more; an end of one direction is passed on as an end; a reset is passed on
as a reset. There is nothing that we could say to such a client: when the upstream does not accept, the connection is
reset, which is as near as can be to the refusal that the client would have met without us.
"""

from __future__ import annotations

from proxy.errors import APP_UNREACHABLE, Failure
from proxy.exchange.exchange import FAR
from proxy.exchange.phase import CLOSED, PHASES, ROUTING, TUNNEL
from proxy.exchange.ports import Pool, Stream, Upstream
from proxy.exchange.side import Side
from proxy.exchange.tunnel import Tunnel
from proxy.net.sniff import Kind

AHEAD = 1
"""Reading from the client is paused because too much came before there was an upstream."""
FULL = 2
"""Reading from the client is paused because the upstream takes no more."""


class OpaqueConnection:
    """Implements the ports `Borrower` and `Timed` of the exchange.

    kind: why nobody reads it. stream: the way to the client. pool: where its upstream comes from.
    """

    __slots__ = (
        "_clogged",
        "_ended",
        "_held",
        "_paused",
        "_pool",
        "_side",
        "_tunnel",
        "_upstream",
        "due",
        "kind",
        "phase",
        "slot",
        "stream",
    )

    def __init__(self, side: Side, stream: Stream, pool: Pool, kind: Kind) -> None:
        self.kind = kind
        self.stream = stream
        self.phase = ROUTING
        self.due = 0
        self.slot = FAR
        self._side = side
        self._pool = pool
        self._held = b""
        self._paused = 0
        self._clogged = False
        self._ended = False
        self._tunnel: Tunnel | None = None
        self._upstream: Upstream | None = None
        side.counters.opaque[kind.value] += 1

    def __repr__(self) -> str:
        return f"<OpaqueConnection {self.kind.value} {PHASES[self.phase]} held={len(self._held)} paused={self._paused}>"

    @property
    def answer(self) -> OpaqueConnection:
        """Who gets the upstream's bytes."""
        return self

    # -- its upstream ---------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Get an upstream. Never one from the pool: the application must see a connection that nobody used before."""
        self._arm(self._side.settings.connect_ticks)
        self._pool.dial(self)

    def connected(self, upstream: Upstream) -> None:
        self.join(upstream, b"")

    def join(self, upstream: Upstream, greeting: bytes) -> None:
        """Bytes from now on. greeting: what the upstream has said already."""
        upstream.exchange = self
        self._upstream = upstream
        self.phase = TUNNEL
        self._side.counters.tunnels_opened += 1
        self._arm(self._side.settings.stream_ticks)
        tunnel = self._tunnel = Tunnel(self.stream, upstream.stream)
        if self._clogged:
            upstream.stream.pause_reading()
        if greeting:
            tunnel.upstream_received(greeting)
        held, self._held = self._held, b""
        if held:
            tunnel.client_received(held)
        if self._ended:
            tunnel.client_eof()
        self._resume(AHEAD)

    def dial_failed(self, reason: str) -> None:
        """No refusal can be told to this client but a reset; `reason` is for who reads of it elsewhere."""
        self._side.counters.upstream_dial_failures += 1
        self._refuse(APP_UNREACHABLE.code)

    def dial_refused(self, failure: Failure, detail: str) -> None:
        self._refuse(failure.code)

    def _refuse(self, code: str) -> None:
        self._side.counters.failures[code] += 1
        self._close()
        self._side.reset(self.stream)

    def received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        assert self._tunnel is not None
        self.due = self._side.wheel.now + self._side.settings.stream_ticks
        self._tunnel.upstream_received(data)

    def upstream_eof(self) -> bool:
        return self._tunnel is not None and self._tunnel.upstream_eof()

    def upstream_lost(self, *, error: bool) -> None:
        self._upstream = None
        self._close()
        if error:
            self._side.reset(self.stream)
        else:
            self._arm(self._side.settings.idle_ticks)  # for the client to take what was written for it
            self.stream.close()

    def upstream_full(self) -> None:
        self._side.counters.paused_downstream += 1
        self._pause(FULL)

    def upstream_drained(self) -> None:
        self._resume(FULL)

    # -- its client -----------------------------------------------------------------------------------------------

    def client_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._tunnel is not None:
            self.due = self._side.wheel.now + self._side.settings.stream_ticks
            self._tunnel.client_received(data)
        elif self.phase == ROUTING:
            self._held += data
            if len(self._held) > self._side.settings.held_bytes:
                self._pause(AHEAD)

    def client_eof(self) -> bool:
        """The client sends no more. True: keep the way back open."""
        self._ended = True
        return self._tunnel.client_eof() if self._tunnel is not None else self.phase == ROUTING

    def client_lost(self, *, error: bool) -> None:
        """The connection to the client is gone; `error` when it was reset rather than closed."""
        if self.phase == ROUTING:
            self._pool.forget(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.exchange = None
            if error:
                self._side.reset(upstream.stream)
            else:
                # What it was sent is still to be taken. It gets the time of an idle connection for that.
                upstream.due = self._side.wheel.now + self._side.settings.idle_ticks
                self._side.wheel.arm(upstream)
                upstream.stream.close()
        self._close()

    def client_full(self) -> None:
        """The client takes no more."""
        self._clogged = True
        if self._upstream is not None:
            self._side.counters.paused_upstream += 1
            self._upstream.stream.pause_reading()

    def client_drained(self) -> None:
        self._clogged = False
        if self._upstream is not None:
            self._upstream.stream.resume_reading()

    # -- small things ---------------------------------------------------------------------------------------------

    def expired(self) -> None:
        """The dial, or the silence of both ends, has lasted for too long; or a closed client does not take the rest."""
        timeouts = self._side.counters.timeouts
        if self.phase == ROUTING:
            timeouts["connect"] += 1
            self._pool.forget(self)
            self.dial_failed("no connection in time")
        elif self.phase == TUNNEL:
            timeouts["tunnel"] += 1
            self.client_lost(error=False)
            self._arm(self._side.settings.idle_ticks)
            self.stream.close()
        else:
            self._side.reset(self.stream)

    def _pause(self, reason: int) -> None:
        if not self._paused:
            self.stream.pause_reading()
        self._paused |= reason

    def _resume(self, reason: int) -> None:
        if self._paused:
            self._paused &= ~reason
            if not self._paused:
                self.stream.resume_reading()

    def _arm(self, ticks: int) -> None:
        wheel = self._side.wheel
        self.due = due = wheel.now + ticks
        if due < self.slot:
            wheel.arm(self)

    def _close(self) -> None:
        self.phase = CLOSED
        self.due = 0
        self._held = b""
        self._tunnel = None
        self._side.wheel.disarm(self)
