"""The two ends of a stream, made of the libraries that people use, with deadlines on everything.

A stream must arrive at one of two places, as its key says. Whoever comes to the other one fails the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from tests.acceptance.running import ROOT
from tests.faults import peers
from tests.faults.peers import Peer
from tests.faults.subject import DEADLINE_SECONDS
from tests.streams.pair import Pair

QUIET: dict[str, Any] = {
    "ping_interval": None,
    "max_size": None,
    "open_timeout": DEADLINE_SECONDS,
    "close_timeout": DEADLINE_SECONDS,
}
"""Nothing is said but what the test says, messages have any size, and nothing waits for ever."""

Handler = Callable[[ServerConnection], Awaitable[None]]


@dataclass(frozen=True)
class End:
    """right: where the stream must arrive; wrong: where it must not; headers: of a client that wants to get there."""

    right: socket.socket
    wrong: socket.socket
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """As the sidecar says who served: empty without a key."""
        return "shop/users;sandbox=agent;rev=1" if self.headers else ""

    @property
    def lines(self) -> list[bytes]:
        """The headers as lines of a request."""
        return [f"{name}: {value}".encode() for name, value in self.headers.items()]

    @contextlib.asynccontextmanager
    async def websocket(self, handler: Handler, **settings: Any) -> AsyncIterator[None]:
        """A WebSocket server. Raises what `handler` raised."""
        failed: list[BaseException] = []

        async def handle(connection: ServerConnection) -> None:
            try:
                await handler(connection)
            except Exception as error:
                failed.append(error)
                raise

        async with self._only_here(), serve(handle, sock=self.right.dup(), **{**QUIET, **settings}):
            yield
        if failed:
            raise failed[0]

    @contextlib.asynccontextmanager
    async def http(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[None]:
        """An aiohttp server whose handlers are cancelled when their client goes."""
        application = web.Application()
        application.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        async with self._only_here():
            try:
                await web.SockSite(runner, self.right.dup()).start()
                yield
            finally:
                await runner.cleanup()

    @contextlib.asynccontextmanager
    async def process(self, kind: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The application as a process that can be killed: `mortal.py`, serving `kind`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.streams.mortal", str(self.right.fileno()), kind,
            cwd=ROOT, pass_fds=(self.right.fileno(),),
        )  # fmt: skip
        try:
            async with self._only_here():
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def _only_here(self) -> AsyncIterator[None]:
        async def astray(peer: Peer) -> None:
            raise AssertionError(f"came to the wrong place: {await peer.head()!r}")

        async with peers.serving(self.wrong) as wrong:
            wrong.script = astray
            yield
        assert wrong.connections == 0


@contextlib.asynccontextmanager
async def websocket(pair: Pair, end: End, path: str = "/", **settings: Any) -> AsyncIterator[ClientConnection]:
    """A WebSocket client that calls through both sidecars."""
    options = {**QUIET, "proxy": None, "additional_headers": dict(end.headers), **settings}
    async with (
        asyncio.timeout(4 * DEADLINE_SECONDS),
        connect(f"ws://127.0.0.1:{pair.port}{path}", **options) as connection,
    ):
        assert connection.response is not None
        assert connection.response.headers.get("skycap-served-by", "") == end.name
        yield connection


@contextlib.asynccontextmanager
async def events(pair: Pair, end: End, **headers: str) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """A reader of server-sent events that calls through both sidecars; yields what returns the next event."""
    async with (
        ClientSession(timeout=ClientTimeout(total=None)) as session,
        session.get(
            f"http://127.0.0.1:{pair.port}/events",
            headers={**end.headers, **headers, "accept": "text/event-stream"},
        ) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert answer.headers.get("skycap-served-by", "") == end.name

        async def following() -> bytes:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await answer.content.readuntil(b"\n\n")

        yield following


async def stream_to(request: web.Request) -> web.StreamResponse:
    """Begin an event stream."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
    await response.prepare(request)
    return response
