"""Streams that are silent for longer than HTTP connections may be.

That the time is over is an event: connections that fell silent *after* the stream have been closed for it, by each of
the two sidecars.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection

from tests.faults.peers import Origin, connect, request
from tests.streams import pair as pairs
from tests.streams.ends import End, events, stream_to, websocket
from tests.streams.pair import PLAIN, Pair, Places

IDLE = "500ms"


@pytest.fixture(scope="module")
def shared(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """All that limits an HTTP connection is short; `--stream-timeout`, which limits streams, is not."""
    folder = tmp_path_factory.mktemp("pair")
    limits = ("--idle-timeout", IDLE, "--header-timeout", IDLE, "--response-timeout", "5s")
    with pairs.running(places, folder, *limits) as running:
        yield running


async def idle_time_passes(pair: Pair) -> None:
    """Return when each sidecar has closed an HTTP connection that has been idle since this was called."""
    for sidecar, side, port in ((pair.caller, "outbound", pair.port), (pair.callee, "inbound", pair.callee.inbound)):
        expired = await sidecar.metric("skycap_timeouts_total", direction=side, phase="idle")
        client = await connect(port)
        await client.send(request(b"/", PLAIN))
        assert (await client.message())[0].startswith(b"HTTP/1.1 200 ")
        assert await client.rest() == (b"", "closed")
        assert await sidecar.metric("skycap_timeouts_total", direction=side, phase="idle") > expired
        client.close()


async def test_a_tunnel(pair: Pair, end: End, plain: Origin) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("before")
        assert await connection.recv() == "after"
        await connection.send("and on")
        await connection.wait_closed()

    async with end.websocket(handler), websocket(pair, end) as client:
        assert await client.recv() == "before"
        for _ in range(2):
            await idle_time_passes(pair)
        await client.send("after")
        assert await client.recv() == "and on"
        await (await client.ping())


async def test_events(pair: Pair, end: End, plain: Origin) -> None:
    go = asyncio.Event()

    async def handler(asked: web.Request) -> web.StreamResponse:
        response = await stream_to(asked)
        await response.write(b"data: before\n\n")
        await go.wait()
        await response.write(b"data: after\n\n")
        return response

    async with end.http(handler), events(pair, end) as following:
        assert await following() == b"data: before\n\n"
        for _ in range(2):
            await idle_time_passes(pair)
        go.set()
        assert await following() == b"data: after\n\n"
