"""Clients as they should not be. They ask for nothing but that everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib

from tests.faults.peers import request
from tests.soak.application import body
from tests.soak.exchanges import Client, expect
from tests.soak.expected import Failed, Key, Wrong
from tests.soak.peer import connected

_HEAD = b"GET /who HTTP/1.1\r\nhost: shop.test\r\n"

MALFORMED = (
    (b"GET  /who HTTP/1.1\r\nhost: a\r\n\r\n", b"400"),
    (b"GET /who HTTP/1.1\r\n\r\n", b"400"),
    (b"GET /who HTTP/1.1\nhost: a\n\n", b"400"),
    (_HEAD + b"x y: z\r\n\r\n", b"400"),
    (_HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
    (_HEAD + b"content-length: +1\r\n\r\n", b"400"),
    (_HEAD + b"transfer-encoding: gzip\r\n\r\n", b"501"),
    (_HEAD + b"x: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
)

PHASES = ("connected", "head", "body", "waiting", "pipeline", "answer", "events", "tunnel")


async def vanish(client: Client, key: Key) -> None:
    """Leave in some phase, by a reset or a close, before or after the application knows of us."""
    port = client.chance.choice((client.caller, client.callee))
    phase = client.chance.choice(PHASES)
    how = client.chance.choice(("reset", "close"))
    opening = {
        "connected": b"",
        "head": _HEAD + b"x:",
        "body": b"POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n8000\r\n" + b"x" * 20_000,
        "waiting": request(b"/slow?ms=300", *key.lines),
        "pipeline": request(b"/who", *key.lines) * 20,
        "answer": request(b"/down?size=1000000&seed=1", *key.lines),
        "events": request(b"/events?count=50&from=0", *key.lines),
        "tunnel": request(
            b"/socket", *key.lines, b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13",
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
    }[phase]  # fmt: skip
    async with connected(port) as peer:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await peer.send(opening)
            if phase in ("answer", "events", "tunnel"):
                await peer.head()
            elif client.chance.random() < 0.5:
                await asyncio.sleep(0.02)
        peer.end(how)


async def read_slowly(client: Client, key: Key) -> None:
    """A MiB in pieces, with pauses: the sidecars wait with us, and the body is whole."""
    async with connected(client.caller) as peer:
        await peer.send(request(b"/down?size=%d&seed=3" % (1 << 20), *key.lines))
        transport = peer.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        for _ in range(4):
            transport.pause_reading()
            await asyncio.sleep(0.1)
            transport.resume_reading()
            await asyncio.sleep(0)
        await expect(peer, key, body(1 << 20, 3))


async def misbehave(client: Client, key: Key) -> None:
    """What must not be forwarded is refused, and the connection ends. Half of them come behind a good request."""
    sent, status = client.chance.choice(MALFORMED)
    async with connected(client.chance.choice((client.caller, client.callee))) as peer:
        ahead = client.chance.random() < 0.5
        await peer.send((request(b"/down?size=10&seed=1", *key.lines) if ahead else b"") + sent)
        if ahead:
            await expect(peer, key, body(10, 1))
        answer, _ = await peer.rest()
        if not answer.startswith(b"HTTP/1.1 " + status):
            if not answer:
                raise Failed("the connection was cut without an answer")
            raise Wrong(f"{sent[:80]!r} was answered {answer[:80]!r}")
        if answer.count(b"HTTP/1.1 ") != 1:
            raise Wrong(f"more than one answer to {sent[:80]!r}")
