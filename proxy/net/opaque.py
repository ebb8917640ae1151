"""A connection that is not HTTP: bytes between the client and one upstream of its own, none of which are read.

    DIALLING ──connected──▶ JOINED ──both have ended, or one is lost──▶ CLOSED

While the upstream is dialled, what the client sends is held, up to `held_bytes`, then reading pauses. Joined, reading
from one end pauses while the other takes no more; an end of one direction is passed on as an end; a reset is passed on
as a reset. There is nothing that we could say to such a client: when the upstream does not accept, the connection is
reset, which is as near as can be to the refusal that the client would have met without us.
"""

from __future__ import annotations

from proxy.errors import APP_UNREACHABLE, Failure
from proxy.exchange.phase import CLOSED, PHASES, ROUTING, TUNNEL
from proxy.exchange.ports import Pool, Stream, Upstream
from proxy.exchange.relay import AHEAD, Relay
from proxy.exchange.side import Side
from proxy.net.sniff import Kind


class OpaqueConnection(Relay):
    """Implements the ports `Borrower` and `Timed` of the exchange.

    kind: why its bytes are not read.
    """

    __slots__ = ("_pool", "kind")

    def __init__(self, side: Side, stream: Stream, pool: Pool, kind: Kind) -> None:
        super().__init__(side, stream, ROUTING)
        self.kind = kind
        self._pool = pool
        side.counters.opaque[kind.value] += 1

    def __repr__(self) -> str:
        return f"<OpaqueConnection {self.kind.value} {PHASES[self.phase]} held={len(self.held)} paused={self.paused}>"

    @property
    def answer(self) -> OpaqueConnection:
        """The receiver of the upstream's bytes."""
        return self

    # -- its upstream ---------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Get an upstream. Never one from the pool: the application must see a connection that was not used before."""
        self.arm(self.side.settings.connect_ticks)
        self._pool.dial(self)

    def connected(self, upstream: Upstream) -> None:
        self.join(upstream, b"")

    def join(self, upstream: Upstream, greeting: bytes) -> None:
        """Bytes from now on. greeting: what the upstream has said already."""
        upstream.borrower = self
        self.upstream = upstream
        if self.clogged:
            upstream.stream.pause_reading()
        self.open_tunnel(greeting)

    def dial_failed(self, reason: str) -> None:
        """No refusal can be told to this client but a reset; `reason` is of use elsewhere only."""
        self.side.counters.upstream_dial_failures += 1
        self._refuse(APP_UNREACHABLE.code)

    def dial_refused(self, failure: Failure, detail: str) -> None:
        self._refuse(failure.code)

    def _refuse(self, code: str) -> None:
        self.side.counters.failures[code] += 1
        self._close()
        self.side.reset(self.stream)

    def received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        self.tunnel_down(data)

    def upstream_lost(self, *, error: bool) -> None:
        self.stop_splices()
        self.upstream = None
        self._close()
        if error:
            self.side.reset(self.stream)
        else:
            self.arm(self.side.settings.idle_ticks)  # for the client to take what was written for it
            self.stream.close()

    # -- its client -----------------------------------------------------------------------------------------------

    def client_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.tunnel is not None:
            self.tunnel_up(data)
        elif self.phase == ROUTING:
            self.held += data
            if len(self.held) > self.side.settings.held_bytes:
                self.pause(AHEAD)

    def client_eof(self) -> bool:
        """The client sends no more. True: keep the way back open."""
        self.ended = True
        return self.tunnel.client_eof() if self.tunnel is not None else self.phase == ROUTING

    def client_lost(self, *, error: bool) -> None:
        """The connection to the client is gone; `error` when it was reset rather than closed."""
        if self.phase == ROUTING:
            self._pool.forget(self)
        self.stop_splices()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.borrower = None
            if error:
                self.side.reset(upstream.stream)
            else:
                # What it was sent is still to be taken. It gets the time of an idle connection for that.
                upstream.due = self.side.wheel.now + self.side.settings.idle_ticks
                self.side.wheel.arm(upstream)
                upstream.stream.close()
        self._close()

    def client_failed(self) -> None:
        self.client_lost(error=True)
        self.stream.abort()

    def upstream_refuses(self) -> None:
        self.upstream_failed()

    def spliced_up(self) -> None:
        """Nothing else: a tunnel has no end but that of its connections."""

    def spliced_down(self, *, behind: bool) -> None:
        """Nothing else, as above."""

    # -- small things ---------------------------------------------------------------------------------------------

    def expired(self) -> None:
        """The dial, or the silence of both ends, has lasted for too long; or a closed client does not take the rest."""
        timeouts = self.side.counters.timeouts
        if self.phase == ROUTING:
            timeouts["connect"] += 1
            self._pool.forget(self)
            self.dial_failed("no connection in time")
        elif self.phase == TUNNEL:
            timeouts["tunnel"] += 1
            lost = self.stop_splices()
            self.client_lost(error=lost)
            if lost:
                self.side.reset(self.stream)  # behind what is missing, an end would look like one of the whole
            else:
                self.arm(self.side.settings.idle_ticks)
                self.stream.close()
        else:
            self.side.reset(self.stream)

    def _close(self) -> None:
        self.phase = CLOSED
        self.due = 0
        self.held = b""
        self.tunnel = None
        self.side.wheel.disarm(self)
