"""A client's connection: its first bytes decide what becomes of the others.

    silent or undecided ──▶ HTTP/1: an exchange
                        ├─▶ HTTP/2: streams, each with an exchange of its own
                        └─▶ anything else: an opaque connection

The event loop looks `data_received` up when the protocol is set. Once the connection is known, that is a method of
the object that serves it: without one of ours in between, one call less for every read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, cast

from proxy.exchange.exchange import Exchange
from proxy.exchange.h2.client import ClientLink
from proxy.exchange.outbound import Outbound
from proxy.exchange.passage import Passage
from proxy.exchange.phase import CLOSED, PHASES
from proxy.exchange.ports import Pool, Stream, Upstream
from proxy.exchange.side import Side
from proxy.net.opaque import OpaqueConnection
from proxy.net.silence import Opening, Silence
from proxy.net.sniff import PREFACE, Kind, sniff
from proxy.net.tls import TlsStream
from proxy.net.tuning import set_water_marks


class Downstream(asyncio.Protocol):
    """One accepted connection. It is in its listener's set while it is open.

    opening:  how connections of this side begin; without one, the application is never dialled before its client has
              spoken.
    accepted: the tick in which that was.
    exchange: reads its requests, None before there is a connection and when it is opaque.
    streams:  reads its frames, None while it is not known to speak HTTP/2.
    opaque:   carries its bytes, None while it is not known to be opaque.
    """

    stream: Stream

    def __init__(
        self,
        side: Side,
        open_connections: set[Downstream],
        closed: Callable[[], None],
        opening: Opening | None = None,
    ) -> None:
        self.side = side
        self._open = open_connections
        self._on_closed = closed
        self._opening = opening or Opening()
        self._timer: asyncio.TimerHandle | None = None
        self._silence: Silence | None = None
        self._early = b""
        self.accepted = 0
        self.exchange: Exchange | None = None
        self.streams: ClientLink | None = None
        self.opaque: OpaqueConnection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        set_water_marks(transport)
        side, opening = self.side, self._opening
        counters = side.counters
        counters.connections_accepted += 1
        counters.connections_open += 1
        self.accepted = side.wheel.now
        self.stream = transport  # type: ignore[assignment] # uvloop's transports do not derive from asyncio's
        if opening.tls:
            self.stream = TlsStream(cast(asyncio.Transport, transport))
        self._open.add(self)
        if opening.peers is not None:
            opening.peers.ask(transport, self._peer_known)
            return
        self._begin()

    def _peer_known(self, key: str) -> None:
        """The client's process is that of a shadow of this key, or, "", of none that is known."""
        if self not in self._open:
            return  # it has left meanwhile
        if key and isinstance(self.side, Outbound):
            self.side = self.side.on_behalf(key)
        self._begin()
        early, self._early = self._early, b""
        if early:
            self.stream.resume_reading()
            self.data_received(early)

    def _begin(self) -> None:
        side, opening, transport = self.side, self._opening, cast(asyncio.Transport, self.stream)
        if opening.declared and side.default_pool is not None:
            self._carry(Kind.DECLARED, side.default_pool, b"").dial()
            return
        exchange = self.exchange = Exchange(side, self.stream)
        if side.forwarded:
            peer = transport.get_extra_info("peername")
            # Without a zone; a client that has left at once has no address any more (RFC 7239 section 6.2).
            exchange.peer = peer[0].partition("%")[0].encode() if isinstance(peer, tuple) else b"unknown"
        if side.default_pool is None:
            exchange.through = self._through
            if not isinstance(side, Outbound):
                self._receive_with(exchange.request.received)
        elif (wait := opening.wait) is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._silent)

    def data_received(self, data: bytes) -> None:
        """The first bytes, until they tell what the connection is."""
        exchange, pool = self.exchange, self.side.default_pool
        if exchange is None:  # it is not known yet whose they are
            self._early = data
            self.stream.pause_reading()
            return
        if pool is None:
            self._proxied(exchange, data)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kind = sniff(exchange.held + data if exchange.held else data)
        if kind is None:
            self._hold(exchange, data)
            return
        silence, self._silence = self._silence, None
        upstream = silence.end() if silence is not None else None
        if kind is Kind.HTTP1:
            if upstream is not None:
                pool.give(upstream, -1)
            self._receive_with(exchange.request.received)
            exchange.request.received(data)
            return
        if kind is Kind.HTTP2:
            self._multiplex(exchange, data, upstream)
            return
        opaque = self._carry(kind, pool, self._retire() + data)
        if upstream is not None:
            opaque.join(upstream, b"")
        else:
            opaque.dial()

    def _hold(self, exchange: Exchange, data: bytes) -> None:
        """Keep what does not tell yet; it has the time that a head has."""
        if not exchange.held:
            exchange.arm(self.side.settings.header_ticks)
        exchange.held += data

    def _receive_with(self, receive: Callable[[bytes], None]) -> None:
        self.data_received = receive  # type: ignore[method-assign, assignment]
        cast(asyncio.Transport, self.stream).set_protocol(self)

    # -- HTTP/2 ---------------------------------------------------------------------------------------------------

    def _proxied(self, exchange: Exchange, data: bytes) -> None:
        """The first bytes to a forward proxy, which is asked in HTTP of one version or the other."""
        first = exchange.held + data
        if first.startswith(PREFACE):
            self._multiplex(exchange, data, None)
        elif PREFACE.startswith(first):
            self._hold(exchange, data)
        else:
            self._receive_with(exchange.request.received)
            exchange.request.received(data)

    def _multiplex(self, exchange: Exchange, data: bytes, upstream: Upstream | None) -> None:
        """From now on the connection has streams. data: the newest of what has come; upstream: was dialled ahead."""
        first = self._retire() + data
        streams = self.streams = ClientLink(self.side, self.stream, exchange.peer)
        self._receive_with(streams.received)
        if upstream is not None:
            pool = self.side.default_pool
            assert pool is not None
            if isinstance(upstream.stream, TlsStream):
                pool.give(upstream, -1)  # HTTP/1.1 was agreed on it
            else:
                streams.adopt(pool, upstream)
        streams.begin(first)

    # -- not HTTP -------------------------------------------------------------------------------------------------

    def _retire(self) -> bytes:
        """There will be no requests. Returns what has come by now."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        held = exchange.held
        exchange.client_lost()
        return held

    def _carry(self, kind: Kind, pool: Pool, first: bytes) -> OpaqueConnection:
        """From now on the connection is opaque. It still needs an upstream."""
        opaque = self.opaque = OpaqueConnection(self.side, self.stream, pool, kind)
        if first:
            opaque.client_received(first)
        self._receive_with(opaque.client_received)
        return opaque

    # -- in a tunnel ----------------------------------------------------------------------------------------------

    def _through(self, upstream: Upstream) -> None:
        """A forward proxy was asked to CONNECT, and has answered 200. Many clients say HTTP in there (undici, WebSocket
        clients, `curl -p`): from here on it is a new connection, for which `upstream` was dialled ahead."""
        asked = self.exchange
        assert asked is not None
        assert isinstance(self.side, Outbound)
        side = self.side.through(asked.passage.head)
        pool = side.default_pool
        assert pool is not None
        held = asked.handed_over()
        self.side = side
        self.exchange = Exchange(side, self.stream)
        self.exchange.peer = asked.peer
        self._receive_with(MethodType(Downstream.data_received, self))
        silence = self._silence = Silence(self, side, pool, self._opening)
        silence.connected(upstream)
        if held:
            self.data_received(held)

    # -- silence --------------------------------------------------------------------------------------------------

    def _silent(self) -> None:
        """The client has said nothing for as long as may be."""
        self._timer = None
        opening, pool = self._opening, self.side.default_pool
        assert pool is not None
        if opening.room and self.side.has_answer:
            opening.client_first = True
        if opening.wait is not None:
            self._silence = Silence(self, self.side, pool, opening)
            opening.enter(self._silence)

    def app_spoke(self, upstream: Upstream, greeting: bytes) -> None:
        pool = self.side.default_pool
        assert pool is not None
        self._silence = None
        self._carry(Kind.SERVER_FIRST, pool, self._retire()).join(upstream, greeting)

    def app_left(self, *, error: bool) -> None:
        self._silence = None
        exchange = self.exchange
        if exchange is None or exchange.held or self._opening.client_first:
            return  # it will be dialled again for what the client says
        if error:
            self.side.reset(self.stream)
        else:
            self.stream.close()

    def app_unreachable(self) -> None:
        self._silence = None
        exchange = self.exchange
        if exchange is not None and not exchange.held and not self._opening.client_first:
            exchange.arm(self.side.settings.connect_ticks)

    # -- the client's connection ----------------------------------------------------------------------------------

    def eof_received(self) -> bool:
        if self.opaque is not None:
            keep = self.opaque.client_eof()
        elif self.streams is not None:
            keep = self.streams.client_eof()
        else:
            keep = self.exchange is not None and self.exchange.client_eof()
        return keep and not self._opening.tls  # an end of TLS is one of both directions

    def connection_lost(self, exc: Exception | None) -> None:
        self.side.counters.connections_open -= 1
        self._open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._silence is not None:
            upstream = self._silence.end()
            if upstream is not None:
                upstream.stream.abort()
        if self.opaque is not None:
            self.opaque.client_lost(error=exc is not None)
        elif self.streams is not None:
            if self.side.has_answer:
                self._opening.client_first = True
            self.streams.client_lost()
        elif self.exchange is not None:
            if self.side.has_answer:
                self._opening.client_first = True
            self.exchange.client_lost()
        self._on_closed()

    def pause_writing(self) -> None:
        relay = self.opaque or self.exchange
        if relay is not None:
            relay.client_full()
        elif self.streams is not None:
            self.streams.client_full()

    def resume_writing(self) -> None:
        relay = self.opaque or self.exchange
        if relay is not None:
            relay.client_drained()
        elif self.streams is not None:
            self.streams.client_drained()

    def abort(self) -> None:
        """Cut it, so that its client cannot take what it got for all of it."""
        self.side.reset(self.stream)

    def give_way(self) -> None:
        """End it, since others need its descriptor. A request that is under way learns that it has no answer."""
        if self.exchange is not None:
            self.exchange.drain(last_call=True)
            if self.exchange.phase != CLOSED:
                self.abort()
        elif self.streams is not None:
            self.streams.drain(last_call=True)

    def drain(self, *, last_call: bool) -> None:
        """The sidecar is about to end, as in the exchanges."""
        if self.exchange is not None:
            self.exchange.drain(last_call=last_call)
        elif self.streams is not None:
            self.streams.drain(last_call=last_call)

    @property
    def passages(self) -> Iterator[Passage]:
        """The requests in hand."""
        if self.exchange is not None:
            yield self.exchange.passage
        elif self.streams is not None:
            yield from self.streams.passages

    def describe(self) -> dict[str, Any]:
        """For people: the client, and what is done for it."""
        exchange, opaque = self.exchange, self.opaque
        plan = exchange.passage.plan if exchange is not None else None
        relay = opaque or exchange
        peer = cast(asyncio.Transport, self.stream).get_extra_info("peername")  # two system calls: not for every one
        return {
            "client": f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "",
            "phase": PHASES[relay.phase if relay is not None else CLOSED],
            "method": exchange.passage.head.method.decode("latin-1") if exchange is not None else "",
            "action": plan.action.value if plan is not None else "",
            "sandbox": plan.sandbox if plan is not None else "",
            "streams": len(self.streams.flows) if self.streams is not None else 0,
            "opaque": opaque.kind.value if opaque is not None else "",
        }
