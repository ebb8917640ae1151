"""Connections that are not HTTP, on real sockets: who gets the bytes, how they end, what is left behind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.inbound import Inbound
from proxy.exchange.ports import Borrower, Upstream
from proxy.exchange.settings import ExchangeSettings
from proxy.net.downstream import Downstream
from proxy.net.listener import FixedEntrance, Listener, bind
from proxy.net.opaque import OpaqueConnection
from proxy.net.reset import reset
from proxy.net.silence import Opening
from tests.proxy.net.rig import Net, Origin, client, eventually, net, on_uvloop, origin

PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"
GET = b"GET / HTTP/1.1\r\nhost: users\r\n\r\n"
LARGE = random.Random(7).randbytes(8 << 20)
"""More than all buffers of a connection on loopback hold."""


def guard(parts: Net, app: Endpoint) -> Inbound:
    """The inbound side, with resets that are seen as such."""
    return Inbound(
        replace(parts._parts(parts.counters.inbound, "inbound"), reset=reset),
        app=app,
        table=parts.table,
        gave_up=lambda: False,
        instance="5c1d",
        sandbox="",
        revision=0,
        random_bits=random.getrandbits,
        in_hand=lambda: (),
    )


class Guarded:
    """A listener, the application behind it, and the only connection of them."""

    def __init__(self, parts: Net, listener: Listener, app: Origin) -> None:
        self.parts = parts
        self.listener = listener
        self.app = app
        self.counters = parts.counters.inbound

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.sockets[0].getsockname()[:2]
        return host, port

    @property
    def connection(self) -> Downstream:
        (found,) = self.listener.connections
        return found

    @property
    def opaque(self) -> OpaqueConnection:
        assert self.connection.opaque is not None
        return self.connection.opaque

    async def accepted(self) -> None:
        await eventually(lambda: self.listener.connections)


@asynccontextmanager
async def guarded(
    opening: Opening | None = None,
    *,
    settings: ExchangeSettings | None = None,
    app: Endpoint | None = None,
    greeting: bytes = b"",
) -> AsyncIterator[Guarded]:
    """app: instead of an origin that listens."""
    async with net(settings=settings) as parts, origin(greeting) as played:
        side = guard(parts, app or played.endpoint)
        listener = Listener(FixedEntrance(side, opening or Opening()), bind("127.0.0.1", 0), parts.descriptors)
        await listener.start()
        try:
            yield Guarded(parts, listener, played)
        finally:
            listener.stop_accepting()
            listener.abort()
            await listener.emptied()


@on_uvloop
async def test_bytes_reach_the_application_and_its_own_come_back() -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        line.send(PONG)
        await peer.receives(PONG)
        peer.send(GET)
        await line.receives(GET)
        assert place.counters.opaque == {"other": 1}
        assert place.counters.tunnels_opened == 1
        assert sum(map(sum, place.counters.requests.values())) == 0, "nobody has seen a request"
        assert place.connection.describe() | {"client": ""} == {
            "client": "", "phase": "tunnel", "method": "", "action": "", "sandbox": "", "streams": 0, "opaque": "other",
        }  # fmt: skip
        assert repr(place.opaque) == "<OpaqueConnection other tunnel held=0 paused=0>"


@on_uvloop
async def test_what_does_not_tell_is_kept_until_it_does() -> None:
    async with guarded() as place, client(place.address) as peer:
        for piece in (b"P", b"IN", b"G\r"):
            peer.send(piece)
            await place.accepted()
            await eventually(lambda piece=piece: place.connection.exchange.held.endswith(piece))  # type: ignore[misc, union-attr]
        assert place.app.lines == []
        peer.send(b"\n")
        line = await place.app.line()
        await line.receives(b"PING\r\n")


@on_uvloop
async def test_a_beginning_that_never_tells_gets_the_time_of_a_head() -> None:
    async with guarded(settings=ExchangeSettings(header_ticks=5)) as place, client(place.address) as peer:
        peer.send(b"G")
        await place.accepted()
        await eventually(lambda: place.connection.exchange and place.connection.exchange.held)
        place.parts.pass_ticks(5)
        await peer.is_told()
        assert peer.got.startswith(b"HTTP/1.1 408 ")
        assert place.counters.timeouts == {"header": 1}
        assert place.app.lines == []


@on_uvloop
async def test_requests_are_none_of_its_business() -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(GET)
        line = await place.app.line()
        await line.receives(GET)
        assert place.connection.opaque is None
        assert place.counters.opaque == {}


@on_uvloop
async def test_more_than_can_be_held_waits_for_the_application() -> None:
    """Everything comes at once, long before the dial is over."""
    async with guarded() as place, client(place.address) as peer:
        peer.send(b"\0" + LARGE)
        line = await place.app.line()
        await line.until(lambda: len(line.got) > len(LARGE))
        assert line.got == b"\0" + LARGE


@on_uvloop
@pytest.mark.parametrize("up", [True, False], ids=["to the application", "to the client"])
async def test_reading_waits_for_a_slow_reader(up: bool) -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        source, sink = (peer, line) if up else (line, peer)
        sink.wire.pause_reading()
        source.send(LARGE)
        figure = "paused_downstream" if up else "paused_upstream"
        await eventually(lambda: getattr(place.counters, figure) > 0)
        sink.wire.resume_reading()
        await sink.until(lambda: len(sink.got) >= len(LARGE))
        assert sink.got == LARGE


@on_uvloop
@pytest.mark.parametrize("client_first", [True, False], ids=["client", "application"])
async def test_one_direction_ends_before_the_other(client_first: bool) -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        one, other = (peer, line) if client_first else (line, peer)
        one.wire.write_eof()
        await other.until(lambda: other.ended)
        assert not one.lost
        other.send(b"still there")
        await one.receives(b"still there")
        other.wire.write_eof()
        await one.is_told()
        await eventually(lambda: not place.listener.connections)


@on_uvloop
async def test_an_end_during_the_dial_is_passed_on_behind_the_bytes() -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        peer.wire.write_eof()
        line = await place.app.line()
        await line.until(lambda: line.ended)
        assert line.got == PING
        line.send(PONG)
        line.wire.close()
        await peer.until(lambda: peer.ended)
        assert peer.got == PONG


@on_uvloop
@pytest.mark.parametrize("client_first", [True, False], ids=["client", "application"])
async def test_a_reset_is_passed_on_as_a_reset(client_first: bool) -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        one, other = (peer, line) if client_first else (line, peer)
        one.reset()
        await other.until(lambda: other.lost)
        assert isinstance(other.error, ConnectionResetError)


@on_uvloop
async def test_a_client_that_goes_leaves_what_it_said() -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        line.wire.pause_reading()
        peer.send(LARGE)
        await eventually(lambda: place.counters.paused_downstream)
        peer.wire.close()
        line.wire.resume_reading()
        await line.until(lambda: line.ended)
        assert line.got == LARGE


@on_uvloop
async def test_a_client_that_goes_before_the_dial_is_over_costs_nothing() -> None:
    async with guarded() as place:
        place.parts.pools._pools.clear()
        async with client(place.address) as peer:
            peer.send(PING)
            await place.accepted()
            await eventually(lambda: place.connection.opaque)
            peer.reset()
            await eventually(lambda: not place.listener.connections)


def closed_port() -> Endpoint:
    """An endpoint that accepts nothing."""
    (listening,) = bind("127.0.0.1", 0)
    with listening:
        return Endpoint("127.0.0.1", listening.getsockname()[1])


@on_uvloop
async def test_no_application_is_a_reset() -> None:
    async with guarded(app=closed_port()) as place, client(place.address) as peer:
        peer.send(PING)
        await peer.until(lambda: peer.lost)
        assert isinstance(peer.error, ConnectionResetError)
        assert peer.got == b"", "there is no refusal that it would understand"
        assert place.counters.failures == {"app-unreachable": 1}
        assert place.counters.upstream_dial_failures == 1


@on_uvloop
async def test_a_listener_of_our_own_is_not_dialled() -> None:
    async with net() as parts:
        (sock,) = sockets = bind("127.0.0.1", 0)
        side = guard(parts, Endpoint("127.0.0.1", sock.getsockname()[1]))
        parts.own.add(sockets)
        listener = Listener(FixedEntrance(side), sockets, parts.descriptors)
        await listener.start()
        async with client(sock.getsockname()) as peer:
            peer.send(PING)
            await peer.until(lambda: peer.lost)
            assert isinstance(peer.error, ConnectionResetError)
            assert parts.counters.inbound.failures == {"loop": 1}
            assert parts.counters.inbound.connections_accepted == 1
        listener.stop_accepting()


class Unanswered:
    """A pool whose dials nobody answers (port `Pool`)."""

    endpoint = Endpoint("127.0.0.1", 9)

    def __init__(self) -> None:
        self.idle: list[Upstream] = []
        self.waiting: list[Borrower] = []

    def dial(self, exchange: Borrower) -> None:
        self.waiting.append(exchange)

    def forget(self, exchange: Borrower) -> None:
        if exchange in self.waiting:
            self.waiting.remove(exchange)

    def give(self, upstream: Upstream, idle_seconds: int, rests: bool = False) -> None:
        raise AssertionError("an opaque connection is never used again")

    def dead(self, upstream: Upstream) -> None:
        raise AssertionError("an opaque connection is never lent twice")


@on_uvloop
async def test_a_dial_has_its_time() -> None:
    async with guarded(settings=ExchangeSettings(connect_ticks=3)) as place:
        pool = Unanswered()
        place.listener.entrance.side.default_pool = pool  # type: ignore[attr-defined]
        async with client(place.address) as peer:
            peer.send(b"\0" + b"x" * 200_000)
            await place.accepted()
            await eventually(lambda: place.connection.opaque)
            await eventually(lambda: repr(place.opaque).endswith(" paused=1>"))
            assert place.connection.describe()["phase"] == "routing"
            assert pool.waiting == [place.opaque]
            place.parts.pass_ticks(3)
            await peer.until(lambda: peer.lost)
            assert isinstance(peer.error, ConnectionResetError)
            assert pool.waiting == []
            assert place.counters.timeouts == {"connect": 1}


@on_uvloop
async def test_silence_of_both_ends_it() -> None:
    async with guarded(settings=ExchangeSettings(stream_ticks=10)) as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        place.parts.pass_ticks(9)
        line.send(PONG)
        await peer.receives(PONG)
        place.parts.pass_ticks(9)
        peer.send(PING)
        await line.receives(PING)
        place.parts.pass_ticks(9)
        assert not peer.ended
        place.parts.pass_ticks(1)
        await peer.is_told()
        await line.is_told()
        assert place.counters.timeouts == {"tunnel": 1}


@on_uvloop
async def test_a_client_that_does_not_take_the_rest_is_reset() -> None:
    settings = ExchangeSettings(idle_ticks=10, stream_ticks=50)
    async with guarded(settings=settings) as place, client(place.address) as peer:
        peer.send(PING)
        line = await place.app.line()
        await line.receives(PING)
        peer.wire.pause_reading()
        line.send(LARGE)
        await eventually(lambda: place.counters.paused_upstream)
        place.parts.pass_ticks(50)
        assert place.counters.timeouts == {"tunnel": 1}
        assert place.listener.connections
        place.parts.pass_ticks(10)
        await eventually(lambda: not place.listener.connections)
        peer.wire.resume_reading()
        await peer.until(lambda: peer.lost)
        assert isinstance(peer.error, ConnectionResetError)


# -- what it is called ------------------------------------------------------------------------------------------------


@on_uvloop
@pytest.mark.parametrize(("first", "kind"), [(b"\x16\x03\x01\x02\0", "tls"), (PING, "other")], ids=["tls", "?"])
async def test_it_is_counted_by_what_it_is(first: bytes, kind: str) -> None:
    async with guarded() as place, client(place.address) as peer:
        peer.send(first)
        line = await place.app.line()
        await line.receives(first)
        assert place.counters.opaque == {kind: 1}
        assert place.connection.describe()["opaque"] == kind
