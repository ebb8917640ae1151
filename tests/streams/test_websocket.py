"""WebSocket through both sides, between the client and the server of the `websockets` library."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request, Response

from tests.faults import peers
from tests.faults.peers import Peer, ok, request
from tests.faults.subject import DEADLINE_SECONDS
from tests.streams.ends import QUIET, End, websocket
from tests.streams.pair import Pair

SIZE = 16 << 20
MANY = 5000
CLOSES = [(1000, ""), (1000, "done"), (1001, "going away"), (1011, "my fault"), (4000, "é" * 61), (4999, "last")]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_ping_and_pong_both_ways(pair: Pair, end: End) -> None:
    async def handler(connection: ServerConnection) -> None:
        for payload in (b"", b"server", b"\0" * 125):
            await (await connection.ping(payload))
        await connection.send("answered")
        await connection.wait_closed()

    async with end.websocket(handler), websocket(pair, end) as client:
        for payload in (b"", b"client", b"\xff" * 125):
            await (await client.ping(payload))
        assert await client.recv() == "answered"


@pytest.mark.parametrize(("code", "reason"), CLOSES)
async def test_the_client_closes(pair: Pair, end: End, code: int, reason: str) -> None:
    seen: list[tuple[int | None, str | None]] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.append((connection.close_code, connection.close_reason))

    async with end.websocket(handler), websocket(pair, end) as client:
        await client.close(code, reason)
        assert (client.close_code, client.close_reason) == (code, reason)  # the server's echo
    assert seen == [(code, reason)]


@pytest.mark.parametrize(("code", "reason"), CLOSES)
async def test_the_server_closes(pair: Pair, end: End, code: int, reason: str) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("last words")
        await connection.close(code, reason)

    async with end.websocket(handler), websocket(pair, end) as client:
        assert await client.recv() == "last words"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (code, reason)


async def test_the_application_dies(pair: Pair, end: End) -> None:
    """No close frame came, so the client must not believe in one: that is what 1006 says."""
    async with end.process("websocket") as process, websocket(pair, end) as client:
        assert await client.recv() == "alive"
        process.kill()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1006


async def test_the_client_vanishes(pair: Pair, end: End) -> None:
    gone = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await connection.send("here")
        await connection.wait_closed()
        assert connection.close_code == 1006
        gone.set()

    async with end.websocket(handler), websocket(pair, end) as client:
        await client.recv()
        client.transport.abort()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await gone.wait()


def message(kind: str, compression: str | None) -> bytes | str:
    """16 MiB. Of noise, which shows every byte that is out of place; half of it zeros where it is to be deflated."""
    if kind == "text":
        return "0123456789abcdeé"[:-2] * (SIZE // 16) + "é" * (SIZE // 16)
    noise = random.Random(16)
    return noise.randbytes(SIZE) if compression is None else noise.randbytes(SIZE // 2) + bytes(SIZE // 2)


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("kind", ["binary", "text"])
async def test_sixteen_mib_both_ways(pair: Pair, end: End, kind: str, compression: str | None) -> None:
    sent = message(kind, compression)
    assert len(sent if isinstance(sent, bytes) else sent.encode()) == SIZE

    async def handler(connection: ServerConnection) -> None:
        got = await connection.recv()
        assert digest(got) == digest(sent)
        await connection.send(got)
        await connection.wait_closed()

    async with (
        end.websocket(handler, compression=compression),
        websocket(pair, end, compression=compression) as client,
    ):
        await client.send(sent)
        back = await client.recv()
        assert type(back) is type(sent)
        assert digest(back) == digest(sent)


@pytest.mark.parametrize("kind", ["binary", "text"])
async def test_fragments_arrive_as_they_were_sent(pair: Pair, end: End, kind: str) -> None:
    """Empty ones, one byte, a MiB: 16 MiB in all, there and back, with a ping amid them. The library ends a message
    of fragments with an empty one."""
    sizes = [1, 0, 125, 126, 65535, 65536, *[1 << 20] * 15, (1 << 20) - 1 - 125 - 126 - 65535 - 65536]
    assert sum(sizes) == SIZE
    piece: bytes | str = b"x" if kind == "binary" else "x"

    async def pieces(connection: Connection) -> AsyncIterator[bytes | str]:
        for number, size in enumerate(sizes):
            if number == len(sizes) // 2:
                await (await connection.ping(b"amid"))
            yield piece * size

    async def check(connection: Connection) -> None:
        got = [piece async for piece in connection.recv_streaming()]
        assert [len(piece) for piece in got] == [*sizes, 0]
        assert all(one == piece * len(one) for one in got)

    async def handler(connection: ServerConnection) -> None:
        await check(connection)
        await connection.send(pieces(connection))
        await connection.wait_closed()

    async with (
        end.websocket(handler, compression=None),
        websocket(pair, end, compression=None) as client,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(client.send(pieces(client)))
        await check(client)  # pings are answered while somebody reads


async def test_deflate_is_agreed_between_the_ends(pair: Pair, end: End) -> None:
    agreed: list[bool] = []

    async def handler(connection: ServerConnection) -> None:
        agreed.append(any(isinstance(one, PerMessageDeflate) for one in connection.protocol.extensions))
        await echo(connection)

    async with end.websocket(handler, compression="deflate"):
        for compression in ("deflate", None):
            async with websocket(pair, end, compression=compression) as client:
                assert client.response is not None
                named = client.response.headers.get("sec-websocket-extensions", "")
                assert named.startswith("permessage-deflate") is (compression is not None)
                for text in ("again and " * 100, "again and " * 100):  # the second needs the first one's window
                    await client.send(text)
                    assert await client.recv() == text
    assert agreed == [True, False]


async def test_many_small_messages(pair: Pair, end: End) -> None:
    """All of them, in order, none waiting for the one before."""
    async with end.websocket(echo), websocket(pair, end) as client:

        async def send() -> None:
            for number in range(MANY):
                await client.send(str(number))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            assert [await client.recv() for _ in range(MANY)] == [str(number) for number in range(MANY)]


@pytest.mark.parametrize(("wanted", "agreed"), [(["v2.chat", "v1.chat"], "v1.chat"), (["other"], None), ([], None)])
async def test_the_subprotocol_is_negotiated(pair: Pair, end: End, wanted: list[str], agreed: str | None) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(str(connection.subprotocol))
        await connection.wait_closed()

    def select(_: ServerConnection, offered: list[str]) -> str | None:
        assert offered == wanted
        return "v1.chat" if "v1.chat" in offered else None

    async with (
        end.websocket(handler, subprotocols=["v1.chat"], select_subprotocol=select),
        websocket(pair, end, subprotocols=wanted or None) as client,
    ):
        assert client.subprotocol == agreed
        assert await client.recv() == str(agreed)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refused_upgrade_arrives_as_such(pair: Pair, end: End, status: int) -> None:
    def refuse(connection: ServerConnection, asked: Request) -> Response | None:
        return connection.respond(status, f"not {asked.path}") if asked.path != "/open" else None

    async with end.websocket(echo, process_request=refuse):
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(pair, end, "/closed"):
                pass
        assert refused.value.response.status_code == status
        assert refused.value.response.body == b"not /closed"
        assert refused.value.response.headers.get("skycap-served-by", "") == (
            end.name and f"{end.name};status={status}"
        )
        async with websocket(pair, end, "/open") as client:
            await client.send("in")
            assert await client.recv() == "in"


@pytest.mark.parametrize("status", [b"403 Forbidden", b"404 Not Found"])
async def test_after_a_refused_upgrade_the_connection_goes_on(pair: Pair, end: End, status: bytes) -> None:
    """A request, an upgrade that is refused, a request, and an upgrade that is not: all on one connection."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            head = await peer.head()
            await peer.send(ok(b"yes") if b"upgrade:" not in head else ok(b"no").replace(b"200 OK", status))
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
        await peer.send(await peer.exactly(4))
        await peer.ended()

    upgrade = request(b"/", *end.lines, b"connection: upgrade", b"upgrade: websocket")
    async with peers.serving(end.right) as origin:
        origin.script = script
        client = await peers.connect(pair.port)
        for asked, answer, body in (
            (request(b"/", *end.lines), b"200 OK", b"yes"),
            (upgrade, status, b"no"),
            (request(b"/", *end.lines), b"200 OK", b"yes"),
        ):
            await client.send(asked)
            head, got = await client.message()
            assert head.startswith(b"HTTP/1.1 " + answer)
            assert got == body
        await client.send(upgrade)
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        await client.send(b"pong")
        assert await client.exactly(9) == b"hellopong"
        assert origin.connections == 1
        client.close()
        assert await client.rest() == (b"", "closed")


async def test_in_another_case(pair: Pair, end: End) -> None:
    """Names of protocols have no case (RFC 9110 section 7.8): `WebSocket` is what old servers answer."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nhello")
        await peer.ended()

    async with peers.serving(end.right) as origin:
        origin.script = script
        client = await peers.connect(pair.port)
        await client.send(request(b"/", *end.lines, b"connection: keep-alive, Upgrade", b"upgrade: websocket"))
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.exactly(5) == b"hello"
        client.close()


async def test_through_the_forward_proxy(pair: Pair, end: End) -> None:
    """The library makes a tunnel with CONNECT and asks for the upgrade in it; the callee's side still reads the key."""
    opened = await pair.caller.metric("skycap_tunnels_opened_total", direction="outbound")
    url, proxy = f"ws://127.0.0.1:{pair.callee.inbound}/", f"http://127.0.0.1:{pair.forward}"
    async with (
        end.websocket(echo),
        connect(url, proxy=proxy, additional_headers=dict(end.headers), **QUIET) as client,
    ):
        await client.send("tunnelled")
        assert await client.recv() == "tunnelled"
    assert await pair.caller.metric("skycap_tunnels_opened_total", direction="outbound") == opened + 1
