"""Who speaks first, on real sockets: the client, the application, or nobody for long."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.settings import ExchangeSettings
from proxy.net.downstream import Downstream
from proxy.net.idle import IDLE_TICKS
from proxy.net.listener import FixedEntrance, Listener, bind
from proxy.net.silence import MAX_SILENT, Opening
from tests.proxy.net.rig import client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_opaque import GET, PING, PONG, Unanswered, closed_port, guard, guarded

GREETING = b"220 mail.example.org ESMTP\r\n"
EHLO = b"EHLO shop\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

SHORT = 0.005
"""Seconds. Long enough that a client that speaks at once has done so."""

LONG = 3600.0
"""Seconds that a test would not survive."""


@on_uvloop
async def test_an_application_that_speaks_first_is_heard() -> None:
    async with guarded(Opening(SHORT), greeting=GREETING) as place, client(place.address) as peer:
        await peer.receives(GREETING)
        peer.send(EHLO)
        line = await place.app.line()
        await line.receives(EHLO)
        line.send(b"250 shop\r\n")
        await peer.receives(b"250 shop\r\n")
        assert place.counters.opaque == {"server-first": 1}
        assert place.counters.upstream_dials == 1
        assert place.connection.describe()["opaque"] == "server-first"


@on_uvloop
async def test_the_second_client_of_such_an_application_waits_for_nothing() -> None:
    opening = Opening(SHORT)
    async with guarded(opening, greeting=GREETING) as place:
        async with client(place.address) as first:
            await first.receives(GREETING)
        opening.delay = LONG
        async with client(place.address) as second:
            await second.receives(GREETING)
        assert repr(opening) == "<Opening first=app silent=0 waiting=0>"


@on_uvloop
async def test_a_client_that_speaks_http_after_all_uses_the_connection_that_was_dialled() -> None:
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        peer.send(GET)
        await line.receives(GET)
        line.send(OK)
        await peer.receives(OK)
        assert len(place.app.lines) == place.counters.upstream_dials == 1
        assert place.counters.opaque == {}
        peer.send(GET)
        await line.receives(GET)


@on_uvloop
async def test_a_connection_that_was_dialled_and_closed_costs_the_request_nothing() -> None:
    """It is a pooled one: sent again, once, on a fresh one."""
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        peer.send(GET)
        await line.receives(GET)
        line.wire.close()
        again = await place.app.line(1)
        await again.receives(GET)
        again.send(OK)
        await peer.receives(OK)


@on_uvloop
async def test_a_client_that_says_something_else_has_its_upstream() -> None:
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        peer.send(PING)
        await line.receives(PING)
        line.send(PONG)
        await peer.receives(PONG)
        assert place.counters.opaque == {"other": 1}
        assert place.counters.upstream_dials == 1


@on_uvloop
async def test_a_client_that_speaks_at_once_costs_no_dial_of_its_own() -> None:
    async with guarded(Opening(LONG)) as place, client(place.address) as peer:
        peer.send(b"P")
        await place.accepted()
        await eventually(lambda: place.connection.exchange and place.connection.exchange.held)
        assert place.connection._timer is None
        peer.send(PING[1:])
        await place.app.line()
        assert place.counters.upstream_dials == 1


async def _timer_has_run(connection: Downstream) -> None:
    await eventually(lambda: connection._timer is None)


@on_uvloop
@pytest.mark.parametrize("ended", [True, False], ids=["on a connection that is gone", "on another connection"])
async def test_an_application_that_has_answered_http_is_not_asked_for_a_greeting(ended: bool) -> None:
    opening = Opening(SHORT)
    async with guarded(opening) as place, client(place.address) as first:
        first.send(GET)
        line = await place.app.line()
        await line.receives(GET)
        line.send(OK)
        await first.receives(OK)
        if ended:
            first.wire.close()
            await eventually(lambda: not place.listener.connections)
            assert opening.wait is None
        async with client(place.address) as silent:
            await eventually(lambda: place.counters.connections_accepted == 2)
            for connection in place.listener.connections:
                await _timer_has_run(connection)
                assert connection._silence is None
            assert len(place.app.lines) == 1
            silent.send(GET)
            await line.receives(GET)


@on_uvloop
async def test_an_application_that_does_both_is_given_the_delay() -> None:
    """A port that serves SSH to whoever waits, and HTTP to whoever asks."""
    opening = Opening(SHORT)
    async with guarded(opening) as place:
        async with client(place.address) as first:
            (await place.app.line(0)).send(GREETING)
            await first.receives(GREETING)
        assert opening.wait == 0
        async with client(place.address) as second:
            second.send(GET)
            line = await place.app.line(1)
            await line.receives(GET)
            line.send(OK)
            await second.receives(OK)
        await eventually(lambda: opening.wait == SHORT)
        assert repr(opening) == "<Opening first=app+client silent=0 waiting=0>"


@on_uvloop
async def test_an_answer_nobody_asked_for_is_no_greeting() -> None:
    """Some servers answer 408 when a connection says nothing for long."""
    opening = Opening(SHORT)
    async with guarded(opening) as place, client(place.address) as peer:
        line = await place.app.line()
        line.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
        await line.is_told()
        assert opening.client_first
        peer.send(GET)
        fresh = await place.app.line(1)
        await fresh.receives(GET)
        fresh.send(OK)
        await peer.receives(OK)
        assert place.counters.opaque == {}
        assert place.counters.upstream_discarded == 1


@on_uvloop
async def test_clients_in_advance_do_not_take_all_the_connections() -> None:
    opening = Opening(SHORT)
    extra = 4
    async with guarded(opening) as place, AsyncExitStack() as crowd:
        peers = [await crowd.enter_async_context(client(place.address)) for _ in range(MAX_SILENT + extra)]
        await eventually(lambda: repr(opening) == f"<Opening first=? silent={MAX_SILENT} waiting={extra}>")
        await eventually(lambda: len(place.app.lines) == MAX_SILENT)
        waiting = [one for one in place.listener.connections if repr(one._silence) == "<Silence waiting>"]
        assert len(waiting) == extra
        assert place.counters.upstream_dials == MAX_SILENT
        # One of those that are dialled speaks: another one is dialled instead.
        peers[0].send(PING)
        await eventually(lambda: len(place.app.lines) == MAX_SILENT + 1)
        # One that waits goes: nobody misses it.
        peers[-1].wire.close()
        await eventually(lambda: repr(opening) == f"<Opening first=? silent={MAX_SILENT} waiting={extra - 2}>")
        # One speaks HTTP and gets its answer: now nobody has to wait for a greeting.
        peers[1].send(GET)
        await eventually(lambda: any(line.got == GET for line in place.app.lines))
        next(line for line in place.app.lines if line.got == GET).send(OK)
        await peers[1].receives(OK)
        peers[1].wire.close()
        await eventually(lambda: opening.client_first)
        peers[2].wire.close()
        await eventually(lambda: repr(opening) == f"<Opening first=client silent={MAX_SILENT - 1} waiting=0>")


@on_uvloop
async def test_nobody_is_waited_for_longer_than_a_pool_keeps_a_connection() -> None:
    opening = Opening(SHORT)
    async with guarded(opening) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        place.parts.pass_ticks(IDLE_TICKS)
        await line.is_told()
        assert repr(opening) == "<Opening first=? silent=0 waiting=0>"
        peer.send(GET)
        await (await place.app.line(1)).receives(GET)


@on_uvloop
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_application_that_hangs_up_without_a_word_takes_the_client_along(how: str) -> None:
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        line.reset() if how == "reset" else line.wire.close()
        await peer.is_told()
        assert (peer.error is not None) == (how == "reset")


@on_uvloop
async def test_a_client_that_has_begun_to_speak_is_kept() -> None:
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        peer.send(b"G")
        await eventually(lambda: place.connection.exchange and place.connection.exchange.held)
        line.wire.close()
        await eventually(lambda: place.connection._silence is None)
        peer.send(GET[1:])
        await (await place.app.line(1)).receives(GET)


@on_uvloop
async def test_a_greeting_that_comes_late_decides_about_what_the_client_has_said() -> None:
    async with guarded(Opening(SHORT)) as place, client(place.address) as peer:
        line = await place.app.line()
        await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        peer.send(b"EH")
        await eventually(lambda: place.connection.exchange and place.connection.exchange.held)
        line.send(GREETING)
        await peer.receives(GREETING)
        peer.send(b"LO shop\r\n")
        await line.receives(EHLO)


@on_uvloop
async def test_no_application_leaves_the_client_time_to_ask_why() -> None:
    settings = ExchangeSettings(connect_ticks=5)
    async with (
        guarded(Opening(SHORT), settings=settings, app=closed_port()) as place,
        client(place.address) as asking,
        client(place.address) as silent,
    ):
        await eventually(lambda: place.counters.upstream_dial_failures == 2)
        place.parts.pass_ticks(4)
        asking.send(GET)
        await asking.until(lambda: asking.got)
        assert asking.got.startswith(b"HTTP/1.1 502 ")
        assert not silent.ended
        place.parts.pass_ticks(1)
        await silent.is_told()
        assert silent.got == b""
        assert place.counters.timeouts == {"idle": 1}


@on_uvloop
async def test_a_dial_has_its_time() -> None:
    settings = ExchangeSettings(connect_ticks=3)
    async with guarded(Opening(SHORT), settings=settings) as place:
        pool = Unanswered()
        place.listener.entrance.side.default_pool = pool  # type: ignore[attr-defined]
        async with client(place.address) as peer:
            await eventually(lambda: pool.waiting)
            assert repr(pool.waiting[0]) == "<Silence dialling>"
            place.parts.pass_ticks(3)
            assert pool.waiting == []
            assert place.counters.timeouts == {"connect": 1}
            place.parts.pass_ticks(3)
            await peer.is_told()


@on_uvloop
@pytest.mark.parametrize("first", [GET, PING, b""], ids=["http", "other", "gone"])
async def test_a_dial_that_nobody_waits_for_is_given_up(first: bytes) -> None:
    async with guarded(Opening(SHORT)) as place:
        side = place.listener.entrance.side  # type: ignore[attr-defined]
        pool, real = Unanswered(), side.default_pool
        side.default_pool = pool
        async with client(place.address) as peer:
            await eventually(lambda: pool.waiting)
            side.default_pool = real
            if first:
                peer.send(first)
                await (await place.app.line()).receives(first)
            else:
                peer.wire.close()
            await eventually(lambda: pool.waiting == [])


@on_uvloop
async def test_a_silent_client_that_goes_lets_go_of_the_application() -> None:
    async with guarded(Opening(SHORT)) as place:
        async with client(place.address):
            line = await place.app.line()
            await eventually(lambda: repr(place.connection._silence) == "<Silence dialled>")
        await line.is_told()


@on_uvloop
async def test_our_own_listener_is_not_dialled_for_silence_either() -> None:
    async with net() as parts:
        (sock,) = sockets = bind("127.0.0.1", 0)
        parts.own.add(sockets)
        side = guard(parts, Endpoint("127.0.0.1", sock.getsockname()[1]))
        listener = Listener(FixedEntrance(side, Opening(SHORT)), sockets, parts.descriptors)
        await listener.start()
        async with client(sock.getsockname()) as peer:
            await eventually(lambda: parts.counters.inbound.upstream_dials == 1)
            await eventually(lambda: all(one._silence is None for one in listener.connections))
            assert parts.counters.inbound.connections_accepted == 1
            peer.send(GET)
            await peer.until(lambda: peer.got)
            assert peer.got.startswith(b"HTTP/1.1 508 ")
        listener.stop_accepting()
        await listener.emptied()


@on_uvloop
async def test_without_a_delay_nobody_is_dialled() -> None:
    async with guarded(Opening(0)) as place, client(place.address):
        await place.accepted()
        assert place.connection._timer is None
        assert place.app.lines == []


@on_uvloop
async def test_a_client_that_keeps_its_connection_is_not_silent() -> None:
    async with origin() as played, net() as parts:
        listener = Listener(
            FixedEntrance(parts.inbound(played.endpoint), Opening(SHORT)), bind("127.0.0.1", 0), parts.descriptors
        )
        await listener.start()
        async with client(listener.sockets[0].getsockname()) as peer:
            peer.send(GET)
            line = await played.line()
            await line.receives(GET)
            line.send(OK)
            await peer.receives(OK)
            (connection,) = listener.connections
            assert connection._timer is None
        listener.stop_accepting()
        await listener.emptied()
