"""Server-sent events through both sides, from an aiohttp server: each event at once, and each end as what it is."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientPayloadError, web

from tests.faults import peers
from tests.faults.peers import request
from tests.faults.subject import DEADLINE_SECONDS, POLL_SECONDS
from tests.streams.ends import End, events, stream_to
from tests.streams.pair import Pair

COUNT = 50


async def test_each_event_comes_before_the_next_is_sent(pair: Pair, end: End) -> None:
    """The server sends one only when the client has the one before: who buffers would wait for ever."""
    confirmed: asyncio.Queue[int] = asyncio.Queue()

    async def handler(asked: web.Request) -> web.StreamResponse:
        response = await stream_to(asked)
        for number in range(COUNT):
            await response.write(f"id: {number}\ndata: {'x' * number}\n\n".encode())
            assert await confirmed.get() == number
        return response

    async with end.http(handler), events(pair, end) as following:
        for number in range(COUNT):
            assert await following() == f"id: {number}\ndata: {'x' * number}\n\n".encode()
            confirmed.put_nowait(number)
        assert await following() == b""  # the regular end of the answer


async def test_the_first_event_may_be_late(pair: Pair, end: End) -> None:
    """The head of the answer is there before there is any event."""
    go = asyncio.Event()

    async def handler(asked: web.Request) -> web.StreamResponse:
        response = await stream_to(asked)
        await go.wait()
        await response.write(b"data: first\n\n")
        return response

    async with end.http(handler), events(pair, end) as following:
        go.set()
        assert await following() == b"data: first\n\n"


async def test_a_reconnect_goes_on_where_it_was(pair: Pair, end: End) -> None:
    """`Last-Event-ID` (HTML section 9.2.4) passes as it is; the server answers from there."""
    named: list[str | None] = []
    for_ever = asyncio.Event()

    async def handler(asked: web.Request) -> web.StreamResponse:
        named.append(asked.headers.get("last-event-id"))
        response = await stream_to(asked)
        start = int(named[-1] or "0") + 1
        for number in (start, start + 1):
            await response.write(f"id: {number}\ndata: -\n\n".encode())
        await for_ever.wait()
        return response

    async with end.http(handler):
        async with events(pair, end) as following:
            assert [await following(), await following()] == [b"id: 1\ndata: -\n\n", b"id: 2\ndata: -\n\n"]
        async with events(pair, end, **{"last-event-id": "2"}) as following:
            assert [await following(), await following()] == [b"id: 3\ndata: -\n\n", b"id: 4\ndata: -\n\n"]
    assert named == [None, "2"]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_the_client_disappears(pair: Pair, end: End, how: str) -> None:
    """A reset is told to the application at once. A close may be half of one (RFC 9112 section 9.6): the application
    goes on, and is told when it sends."""
    noticed = asyncio.Event()

    async def handler(asked: web.Request) -> web.StreamResponse:
        try:
            response = await stream_to(asked)
            await response.write(b"data: first\n\n")
            while True:
                await asyncio.sleep(POLL_SECONDS if how == "close" else DEADLINE_SECONDS * 2)
                await response.write(b"data: more\n\n")
        except (asyncio.CancelledError, ConnectionError):
            noticed.set()
            raise

    async with end.http(handler):
        client = await peers.connect(pair.port)
        await client.send(request(b"/events", *end.lines))
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert await client.reader.readuntil(b"data: first\n\n")
        client.end(how)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await noticed.wait()


async def test_the_application_dies(pair: Pair, end: End) -> None:
    """The client sees a cut, not the end of a stream that was complete."""
    async with end.process("events") as process, events(pair, end) as following:
        assert await following() == b"data: alive\n\n"
        process.kill()
        with pytest.raises(ClientPayloadError):
            await following()
