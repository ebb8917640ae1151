"""Clients that behave. Each function is one piece of work with one key; it raises Wrong or Failed, or what its
connection raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from aiohttp import ClientResponse, ClientSession

from tests.faults.peers import Peer, request
from tests.soak.application import body
from tests.soak.expected import Failed, Key, Wrong
from tests.soak.peer import connected

SIZES = (0, 1, 1000, 16 << 10, 65536, 65537, 300_000, 1 << 20)
PIPELINED = 5


@dataclass
class Client:
    """What the work needs. kept: a session that keeps connections; fresh: one that makes a new one every time;
    calls: a connection for gRPC that is kept; caller, forward: ports of the caller's sidecar, callee: of the callee's.
    """

    kept: ClientSession
    fresh: ClientSession
    calls: Any
    caller: int
    forward: int
    callee: int
    chance: random.Random

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.caller}{path}"


def check(key: Key, answer: ClientResponse, text: str = "") -> None:
    """That the right one has answered. text: its content, where that was read. Raises Failed or Wrong."""
    if code := answer.headers.get("skycap-error"):
        raise Failed(code, f"status {answer.status} {text}".rstrip())
    if answer.status not in (200, 101):
        raise Wrong(f"status {answer.status}")
    key.check(answer.headers.get("x-name", ""), answer.headers.get("skycap-served-by", ""))


async def ask(client: Client, key: Key) -> None:
    """On a kept connection."""
    await _ask(client.kept, client, key)


async def ask_anew(client: Client, key: Key) -> None:
    """On a connection of its own."""
    await _ask(client.fresh, client, key)


async def _ask(session: ClientSession, client: Client, key: Key) -> None:
    async with session.get(client.url("/who"), headers=key.headers) as answer:
        text = await answer.text()
        check(key, answer, text)
        if text != answer.headers["x-name"]:
            raise Wrong(f"{answer.headers['x-name']} answered {text!r}")


async def download(client: Client, key: Key) -> None:
    size, seed = client.chance.choice(SIZES), client.chance.randrange(100)
    chunked = client.chance.choice(("", "&chunked=1"))
    async with client.kept.get(client.url(f"/down?size={size}&seed={seed}{chunked}"), headers=key.headers) as answer:
        check(key, answer)
        if await answer.read() != body(size, seed):
            raise Wrong(f"not the {size} bytes that were asked for")


async def upload(client: Client, key: Key) -> None:
    size, seed = client.chance.choice(SIZES), client.chance.randrange(100)
    data = body(size, seed)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 10_000):
            yield data[start : start + 10_000]

    async with client.kept.request(
        client.chance.choice(("POST", "PUT")), client.url("/up"), headers=key.headers,
        data=client.chance.choice((pieces(), data)), expect100=client.chance.random() < 0.2,
    ) as answer:  # fmt: skip
        text = await answer.text()
        check(key, answer, text)
        if text != hashlib.sha256(data).hexdigest():
            raise Wrong(f"{size} bytes did not arrive as they were sent")


async def pipeline(client: Client, key: Key) -> None:
    """Several requests at once; the answers come in their order."""
    async with connected(client.caller) as peer:
        sizes = [client.chance.choice(SIZES[:5]) for _ in range(PIPELINED)]
        await peer.send(b"".join(request(b"/down?size=%d&seed=7" % size, *key.lines) for size in sizes))
        for size in sizes:
            await expect(peer, key, body(size, 7))


async def tunnel(client: Client, key: Key) -> None:
    """CONNECT through the caller's forward proxy; the key is read at the other end of the tunnel."""
    async with connected(client.forward) as peer:
        await peer.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % ((client.callee,) * 2))
        head = await peer.head()
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(head.decode("latin-1"))
        for size in SIZES[:4]:
            await peer.send(request(b"/down?size=%d&seed=9" % size, *key.lines))
            await expect(peer, key, body(size, 9))


async def expect(peer: Peer, key: Key, wanted: bytes) -> None:
    """One answer with exactly this body."""
    head, got = await peer.message()
    fields = dict(line.lower().partition(": ")[::2] for line in head.decode("latin-1").split("\r\n")[1:-2])
    if code := fields.get("skycap-error"):
        raise Failed(code, f"{head.partition(b' ')[2][:3].decode()} {got.decode('utf-8', 'replace')}")
    if not head.startswith(b"HTTP/1.1 200 ") or got != wanted:
        raise Wrong(f"not the {len(wanted)} bytes that were asked for: {head!r}")
    key.check(fields.get("x-name", ""), fields.get("skycap-served-by", ""))


@contextlib.asynccontextmanager
async def sessions(caller: int, forward: int, callee: int, seed: int) -> AsyncIterator[Client]:
    from aiohttp import ClientTimeout, TCPConnector

    limit = ClientTimeout(total=None)  # whoever calls has a limit for the whole work
    # Clients let go of idle connections before the sidecar does: a request that crosses its close is nobody's fault.
    kept = ClientSession(connector=TCPConnector(limit=0, keepalive_timeout=1), timeout=limit)
    fresh = ClientSession(connector=TCPConnector(limit=0, force_close=True), timeout=limit)
    async with kept, fresh, channel(caller) as calls:
        yield Client(kept, fresh, calls, caller, forward, callee, random.Random(seed))


def channel(port: int) -> Any:
    """A connection for gRPC, shared with no other channel."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*unlimited, ("grpc.use_local_subchannel_pool", 1)])
