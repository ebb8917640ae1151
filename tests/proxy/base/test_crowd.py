"""A bounded crowd: whoever only keeps a place loses it, and nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.base.crowd import Crowd
from proxy.base.tasks import Tasks
from tests.proxy.feed.eventually import eventually


class Echo(asyncio.Protocol):
    """Serves a line at once, or, when it begins with `slow`, as soon as `go` is set."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.transport: asyncio.Transport | None = None
        self.serving = 0
        self.lost = False
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\n"):
            self.place.tasks.spawn(self.serve(data), "serve")

    async def serve(self, data: bytes) -> None:
        with self.place.crowd.serving(self):
            self.serving += 1
            if data.startswith(b"slow"):
                await self.place.go.wait()
        assert self.transport is not None
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes) -> None:
        self.writer.write(line)
        assert await self.reader.readline() == line

    async def gone(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


class Place:
    """A server with a crowd."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.go = asyncio.Event()
        self.tasks = Tasks("test")
        self.made: list[Echo] = []
        self.clients: list[Client] = []
        self.port = 0
        crowd.server = self._make

    def _make(self) -> Echo:
        self.made.append(Echo(self))
        return self.made[-1]

    async def client(self, *lines: bytes) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        for line in lines:
            await client.ask(line)
        return client


@asynccontextmanager
async def place(limit: int, head: float = 60.0, idle: float = 60.0) -> AsyncIterator[Place]:
    made = Place(Crowd(limit, head, idle))
    server = await asyncio.get_running_loop().create_server(made.crowd, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for client in made.clients:
            client.writer.close()
        server.close()
        await made.tasks.close()
        await eventually(lambda: len(made.crowd) == 0)


async def test_who_has_never_been_served_gives_way_first() -> None:
    async with place(3) as at:
        served = await at.client(b"hello\n")
        silent = await at.client()
        dripping = await at.client()
        dripping.writer.write(b"he")
        await eventually(lambda: len(at.crowd) == 3)
        await at.client(b"new\n")
        assert await silent.gone()
        assert len(at.crowd) == 3
        await served.ask(b"again\n")
        await dripping.ask(b"llo\n")


async def test_else_the_one_that_has_been_idle_for_longest() -> None:
    async with place(2) as at:
        first = await at.client(b"1\n")
        second = await at.client(b"2\n")
        await first.ask(b"again\n")
        await at.client(b"3\n")
        assert await second.gone()
        await first.ask(b"still\n")
        assert repr(at.crowd) == "<Crowd 2/2>"


async def test_who_is_being_served_stays() -> None:
    async with place(2) as at:
        busy = [await at.client() for _ in range(2)]
        for client in busy:
            client.writer.write(b"slow\n")
        await eventually(lambda: sum(made.serving for made in at.made) == 2)
        assert await (await at.client()).gone()
        at.go.set()
        for client in busy:
            assert await client.reader.readline() == b"slow\n"
        await at.client(b"now\n")
        assert len(at.crowd) == 2


async def test_a_first_request_has_a_deadline_from_the_first_moment() -> None:
    async with place(5, head=0.05) as at:
        silent, dripping = await at.client(), await at.client()

        async def drips() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    dripping.writer.write(b"x")
                    await dripping.writer.drain()
                    await asyncio.sleep(0.005)

        at.tasks.spawn(drips(), "drips")
        assert await silent.gone()
        assert await dripping.gone()


async def test_a_served_one_has_its_own_and_none_while_it_is_served() -> None:
    async with place(5, head=0.5, idle=0.05) as at:
        busy = await at.client()
        busy.writer.write(b"slow\n")
        await eventually(lambda: at.made[0].serving)
        idle = await at.client(b"hello\n")
        assert await idle.gone()
        await asyncio.sleep(0.5)
        assert not at.made[0].lost, "longer than either deadline"
        at.go.set()
        assert await busy.reader.readline() == b"slow\n"
        assert await busy.gone()


async def test_ends_are_passed_on() -> None:
    async with place(5) as at:
        client = await at.client(b"hello\n")
        client.writer.write_eof()
        await eventually(lambda: at.made[0].eof and at.made[0].lost)
        with at.crowd.serving(object()):
            pass  # a request whose connection is gone
