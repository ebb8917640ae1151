"""Connections of HTTP/2 on real sockets: how they are recognised, and how they end."""

from __future__ import annotations

import pytest

from proxy.contract.routes import Endpoint
from proxy.exchange.settings import TICK_SECONDS
from proxy.net.pressure import IDLE_TICKS, give_way
from proxy.wire.h2.frames import END_STREAM, PREFACE, data_frame, goaway_frame, header_frames, make_head
from proxy.wire.h2.hpack import literal, literals
from proxy.wire.h2.settings import SETTINGS_ACK, settings_frame
from tests.proxy.net.rig import Line, client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import address, listener

HELLO = PREFACE + settings_frame(()) + SETTINGS_ACK
ANSWER = settings_frame(()) + header_frames(1, 0, b"\x88") + data_frame(1, END_STREAM, b"hello")


def ask(authority: object = "users") -> bytes:
    head = b"\x82\x86\x84" + literal(b":authority", str(authority).encode())
    return header_frames(1, END_STREAM, head)


async def asked(line: Line) -> None:
    """The request has come to an application."""
    await line.until(lambda: b"\x82\x86\x84" in line.got)
    assert line.got.startswith(PREFACE)


@on_uvloop
@pytest.mark.parametrize("step", [0, 1])
async def test_an_application_that_speaks_it(step: int) -> None:
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        async with client(address(listening)) as caller:
            said = HELLO + ask()
            for start in range(0, len(said), step or len(said)):
                caller.send(said[start : start + (step or len(said))])
            line = await app.line()
            await asked(line)
            line.send(ANSWER)
            await caller.until(lambda: caller.got.endswith(data_frame(1, END_STREAM, b"hello")))
            (connection,) = listening.connections
            assert connection.describe()["streams"] == 0
            assert not list(connection.passages)
        await line.is_told()
        assert parts.counters.inbound.requests["baseline"][2] == 1


@on_uvloop
async def test_an_application_that_leaves_and_leaves_again() -> None:
    """Each time before it has looked at the request: the third connection answers it."""
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(HELLO + ask())
        for number in range(3):
            line = await app.line(number)
            line.send(settings_frame(()))
            await asked(line)
            if number < 2:
                line.send(goaway_frame(0, 0))
                await line.is_told()
        line.send(ANSWER)
        await caller.until(lambda: caller.got.endswith(data_frame(1, END_STREAM, b"hello")))
        assert parts.counters.inbound.upstream_retries == 2
        assert not parts.counters.inbound.failures


@on_uvloop
async def test_a_forward_proxy_is_asked_in_either_version() -> None:
    async with net() as parts, origin() as shop, listener(parts.outbound(None)) as listening:
        async with client(address(listening)) as caller:
            for byte in HELLO + ask(shop.endpoint):
                caller.send(bytes([byte]))
            line = await shop.line()
            await asked(line)
            line.send(ANSWER)
            await caller.until(lambda: caller.got.endswith(data_frame(1, END_STREAM, b"hello")))
        async with client(address(listening)) as caller:
            caller.send(f"GET http://{shop.endpoint}/ HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            line = await shop.line(1)
            await line.until(lambda: line.got.startswith(b"GET / HTTP/1.1\r\n"))


@on_uvloop
async def test_it_is_read_behind_a_connect_on_the_connection_that_was_made() -> None:
    async with net() as parts, origin() as shop, listener(parts.outbound(None)) as listening:
        async with client(address(listening)) as caller:
            caller.send(f"CONNECT {shop.endpoint} HTTP/1.1\r\nhost: {shop.endpoint}\r\n\r\n".encode())
            await caller.receives(b"HTTP/1.1 200 OK\r\n\r\n")
            caller.send(HELLO + ask())
            line = await shop.line()
            await asked(line)
            line.send(ANSWER)
            await caller.until(lambda: caller.got.endswith(data_frame(1, END_STREAM, b"hello")))
        assert len(shop.lines) == 1
        assert parts.counters.outbound.http2 == 1


@on_uvloop
async def test_idle_clients_give_way() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as idle,
        client(address(listening)) as busy,
    ):
        idle.send(HELLO)
        busy.send(HELLO + ask())
        await asked(await app.line())
        await eventually(lambda: all(one.streams for one in listening.connections))
        assert give_way(listening.connections, 10) == 0
        parts.pass_ticks(IDLE_TICKS)
        assert give_way(listening.connections, 10) == 1
        await idle.is_told()
        assert not busy.lost


@on_uvloop
async def test_a_drain_lets_streams_end() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(HELLO + ask())
        line = await app.line()
        await asked(line)
        for last_call in (False, True):
            listening.drain(last_call=last_call)
        await caller.until(lambda: caller.got.count(make_head(8 << 8 | 7, 0, 0)) == 2)
        assert [passage.head.method for one in listening.connections for passage in one.passages] == [b"GET"]
        line.send(ANSWER)
        await caller.is_told()
        assert data_frame(1, END_STREAM, b"hello") in caller.got


@on_uvloop
async def test_a_client_that_takes_nothing_stops_its_upstream() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(PREFACE + settings_frame(((4, 1 << 30),)) + make_head(4 << 8 | 8, 0, 0) + b"\x3f\xff\0\0" + ask())
        line = await app.line()
        await asked(line)
        caller.wire.pause_reading()
        line.send(settings_frame(()) + header_frames(1, 0, b"\x88"))
        figures, sent = parts.counters.inbound, 0
        while not parts.counters.inbound.paused_upstream and sent < 64 << 20:
            line.send(data_frame(1, 0, b"x" * 16_384) * 16)
            sent += 16 * 16_384
            await eventually(lambda: line.wire.get_write_buffer_size() < 1 << 20 or figures.paused_upstream)
        assert parts.counters.inbound.paused_upstream
        caller.wire.resume_reading()
        line.send(data_frame(1, END_STREAM, b"last"))
        await caller.until(lambda: caller.got.endswith(data_frame(1, END_STREAM, b"last")))


@on_uvloop
async def test_an_application_that_is_not_there() -> None:
    async with origin() as app:
        gone = app.endpoint
    async with (
        net() as parts,
        listener(parts.inbound(Endpoint("127.0.0.1", gone.port))) as listening,
        client(address(listening)) as caller,
    ):
        grpc = literals(((b"content-type", b"application/grpc"),))
        caller.send(HELLO + header_frames(1, END_STREAM, b"\x83\x86\x84" + grpc))
        await caller.until(lambda: b"grpc-message" in caller.got)
        assert b"connection refused" in caller.got
        assert caller.wire.can_write_eof()
        caller.wire.write_eof()
        await caller.is_told()


@on_uvloop
async def test_a_connection_to_a_name_that_moved_is_left() -> None:
    """Its streams go on; the next one of the same client goes where the name leads now."""
    async with net() as parts, origin(host="127.0.0.1") as before:
        endpoint = Endpoint("users.test", before.endpoint.port)
        parts.names["users.test"] = ("127.0.0.1",)
        async with listener(parts.outbound(endpoint)) as listening, client(address(listening)) as caller:
            caller.send(HELLO + ask())
            line = await before.line()
            await asked(line)
            parts.names["users.test"] = ("127.0.0.2",)
            parts.pass_ticks(int(61 / TICK_SECONDS))
            await parts.pools.refresh()
            async with origin(host="127.0.0.2", port=endpoint.port) as behind:
                caller.send(header_frames(3, END_STREAM, b"\x82\x86\x84" + literal(b":authority", b"users")))
                await asked(await behind.line())
                line.send(ANSWER)
                await caller.until(lambda: data_frame(1, END_STREAM, b"hello") in caller.got)
                await line.is_told()
