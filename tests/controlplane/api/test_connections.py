"""Connections of strangers, who have no token yet: they hold nothing for long, and nobody is shut out."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from controlplane.api import connections as module
from controlplane.api.connections import Connections, listen, room
from proxy.base.listen import bind, parse_listen
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Subject:
    def __init__(self, limit: int) -> None:
        self.connections = Connections(limit)
        self.release = asyncio.Event()
        self.port = 0
        self.peers: list[Peer] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/slow":
            await self.release.wait()
        return web.Response(text="ok")

    async def connect(self, data: bytes = b"") -> Peer:
        peer = await asyncio.open_connection("127.0.0.1", self.port)
        peer[1].write(data)
        self.peers.append(peer)
        return peer


@asynccontextmanager
async def serving(limit: int) -> AsyncIterator[Subject]:
    subject, tasks = Subject(limit), Tasks("test")
    app = web.Application(middlewares=[subject.connections.middleware()])
    app.router.add_get("/{path:.*}", subject.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    sockets = bind(parse_listen("127.0.0.1:0"), 64)
    servers = await listen(subject.connections, runner, sockets, 64, tasks)
    subject.port = sockets[0].getsockname()[1]
    yield subject
    subject.release.set()
    for _, writer in subject.peers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    for server in servers:
        server.close()
    await tasks.close()
    await runner.cleanup()


async def ok(peer: Peer) -> bool:
    head = await asyncio.wait_for(peer[0].readuntil(b"ok"), 10)
    return head.startswith(b"HTTP/1.1 200")


async def gone(peer: Peer) -> bool:
    try:
        return await asyncio.wait_for(peer[0].read(1), 10) == b""
    except ConnectionError:
        return True


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with serving(4) as subject:
        peer = await subject.connect(GET)
        assert await ok(peer)
        peer[1].write(GET)
        assert await ok(peer)
        assert repr(subject.connections) == "<Connections 1 of 4, 1 idle>"
        peer[1].close()
        await eventually(lambda: len(subject.connections) == 0)


async def test_the_oldest_that_does_nothing_gives_way() -> None:
    async with serving(3) as subject:
        strangers = [await subject.connect(b"GET /live HTT") for _ in range(3)]
        await eventually(lambda: len(subject.connections) == 3)
        owner = await subject.connect(GET)
        assert await ok(owner)
        assert await gone(strangers[0])
        assert (len(subject.connections), subject.connections.cut) == (3, 1)


async def test_a_crowd_shuts_nobody_out() -> None:
    async with serving(8) as subject:
        for _ in range(100):
            await subject.connect(b"GET /live HTT")
        owner = await subject.connect(GET)
        assert await ok(owner)
        assert len(subject.connections) <= 8


async def test_one_that_is_answered_never_gives_way() -> None:
    async with serving(2) as subject:
        watches = [await subject.connect(GET.replace(b"/ ", b"/slow ")) for _ in range(2)]
        await eventually(lambda: repr(subject.connections) == "<Connections 2 of 2, 0 idle>")
        late = await subject.connect(GET)
        assert await gone(late)
        subject.release.set()
        assert all([await ok(watch) for watch in watches])


@pytest.mark.parametrize("sent", [b"", b"GET /live HTT"])
async def test_a_head_has_its_time_from_the_first_moment(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    async with serving(4) as subject:
        peer = await subject.connect(sent)
        assert await gone(peer)
        await eventually(lambda: len(subject.connections) == 0)


async def test_so_has_the_second_head_of_a_connection_and_a_pause_between_two_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    async with serving(4) as subject:
        peer = await subject.connect(GET)
        assert await ok(peer)
        await asyncio.sleep(0.2)
        assert len(subject.connections) == 1
        peer[1].write(b"GET /live HTT")
        assert await gone(peer)


@pytest.mark.parametrize(
    ("limit", "expected"), [(256, 192), (1024, 768), (1 << 20, 20_000), (resource.RLIM_INFINITY, 20_000), (16, 1)]
)
def test_how_many_there_is_room_for(monkeypatch: pytest.MonkeyPatch, limit: int, expected: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert room() == expected
