from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from controlplane.process.ports import PortPool
from controlplane.process.readiness import LONGEST_PAUSE, SHORTEST_PAUSE, Readiness, answers

Answer = Callable[[bytes], Awaitable[int]]


@pytest.fixture
async def server() -> AsyncIterator[Answer]:
    """Starts a server that sends the given bytes to whoever asks. Returns its port."""
    servers = []

    async def start(answer: bytes) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            for byte in range(len(answer)):
                writer.write(answer[byte : byte + 1])
                await writer.drain()
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for each in servers:
        each.close()
        await each.wait_closed()


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "GET /health answers 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "GET /health answers 404"),
        (b"220 mail.example ESMTP\r\n", "GET /health is not answered with HTTP"),
        (b"HTTP/1.1", "GET /health is not answered with HTTP"),
        (b"", "GET /health is not answered with HTTP"),
    ],
)
async def test_a_path_says_whether_it_is_ready(server: Answer, answer: bytes, missing: str) -> None:
    port = await server(answer)
    assert await answers(port, "/health", "silent")() == missing


async def test_without_a_path_a_listener_is_enough(server: Answer) -> None:
    port = await server(b"")
    assert await answers(port, None, "silent")() == ""


async def test_a_port_that_nobody_listens_on() -> None:
    port = PortPool().take()
    assert await answers(port, "/health", "silent")() == "silent"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_server_on_either_loopback_is_found(host: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await answers(port, "/health", "silent")() == ""
        assert await answers(port, None, "silent")() == ""


async def test_a_connection_to_oneself_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the ephemeral range the kernel may give a probe its own target as the local port: here it does."""
    port = PortPool().take()
    connected = []

    class Unlucky(socket.socket):
        def __init__(self, family: int = socket.AF_INET) -> None:
            super().__init__(family)
            self.bind(("127.0.0.1", port))

        def getpeername(self) -> tuple[str, int]:
            peer: tuple[str, int] = super().getpeername()
            connected.append(peer)
            return peer

    monkeypatch.setattr("controlplane.process.readiness.socket.socket", Unlucky)
    assert await answers(port, None, "silent", ("127.0.0.1",))() == "silent"
    assert connected[0] == ("127.0.0.1", port)


async def test_it_is_asked_until_it_is_ready() -> None:
    said = iter(["not yet", "not yet", ""])

    async def probe() -> str:
        return next(said)

    assert await Readiness().until(probe, 5.0) == ""
    assert next(said, None) is None


async def test_what_was_missing_at_the_end() -> None:
    async def probe() -> str:
        return "still nothing"

    assert await Readiness().until(probe, 0.05) == "still nothing"


async def test_a_probe_that_hangs_is_given_up() -> None:
    async def probe() -> str:
        await asyncio.Event().wait()
        return ""

    assert await Readiness().until(probe, 0.05) == "no answer"


async def test_a_death_ends_the_wait_at_once() -> None:
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def probe() -> str:
        asked.set()
        return "not yet"

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = group.create_task(Readiness().until(probe, 3600.0, gone))
        await asked.wait()
        gone.set_result(1)
    assert waiting.result() == "not yet"
    assert not gone.cancelled()


def test_the_pause_grows_with_the_time_waited() -> None:
    waits = Readiness()
    assert waits._pause(0.0, 30.0) == SHORTEST_PAUSE
    assert waits._pause(1.0, 30.0) == pytest.approx(0.03)
    assert waits._pause(20.0, 30.0) == LONGEST_PAUSE
    assert waits._pause(29.99, 30.0) == pytest.approx(0.01)


def test_a_hundred_starts_share_one_budget() -> None:
    waits = Readiness()
    waits._waiting = 200
    assert waits._pause(0.0, 30.0) == pytest.approx(0.1)
    assert repr(waits) == "<Readiness 200 waiting>"
