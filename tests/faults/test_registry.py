"""A registry that talks nonsense: the last good table stays in force, requests never notice, memory is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.contract.watch import Event
from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import DEADLINE_SECONDS, Subject, until
from tests.proxy.feed.documents import put, snapshot, synced
from tests.proxy.feed.documents import route as route_of
from tests.proxy.feed.registry_server import Registry, Watch

MIB = 1 << 20
KEYED = b"baggage: routing-key=agent-42"


FEED_FILES = 4
"""Of the watch, of a report, and of the two idle connections to application and shadow."""


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[Registry]:
    serving = Registry()
    await serving.start()
    yield serving
    await serving.stop()


@pytest_asyncio.fixture
async def shadow() -> AsyncIterator[int]:
    async def script(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await peer.head():
                await peer.send(ok(b"shadow"))

    with peers.listening_socket() as listening:
        async with peers.serving(listening) as serving:
            serving.script = script
            yield listening.getsockname()[1]


@pytest_asyncio.fixture
async def watched(
    registry: Registry, origin: Origin, application: socket.socket, shadow: int, tmp_path: Path
) -> AsyncIterator[tuple[Subject, Watch]]:
    """A sidecar with a table of one route at revision 100, and its open watch."""
    with subject.running(application.getsockname()[1], tmp_path, "--registry", registry.url) as sidecar:
        watch = await registry.watch()
        await watch.send(snapshot(100, route_of("agent-42", shadow)), synced(100))
        await sidecar.reaches(100, "skycap_feed_applied_revision")
        yield sidecar, watch
        await peers.hang_up()
        async with asyncio.timeout(DEADLINE_SECONDS):  # nothing is left but the watch
            while (await sidecar.page("/connections"))["connections"]:
                pass
        assert await sidecar.metric("skycap_upstream_connections", state="busy") == 0
        await until(lambda: sidecar.open_files() <= sidecar.files + FEED_FILES, "no file is left")
        assert "Traceback" not in sidecar.log, sidecar.log


async def is_right(sidecar: Subject) -> None:
    """A keyed request reaches the shadow, another the application."""
    for lines, body in (((KEYED,), b"shadow"), ((), b"0")):
        client = await connect(sidecar.inbound)
        await client.send(request(b"/", *lines))
        assert (await client.message())[1] == body
        client.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\xfe\0\0\n\n",
        b'event: snapshot\nid: 200\ndata: {"routes": [\n\n',
        b"event: snapshot\nid: 200\ndata: []\n\n",
        b'event: put\nid: 200\ndata: {"workload": "shop/users"}\n\n',
        b'event: put\nid: 200\ndata: {"workload": "other/one", "key": "a", "endpoints": ["127.0.0.1:1"]}\n\n',
        b'event: delete\nid: 200\ndata: {"workload": "shop/users", "key": "' + b"x" * 64 + b'"}\n\n',
        b"event: put\nid: -1\ndata: {}\n\n",
        b"event: synced\nid: 1e9\ndata: {}\n\n",
        b"event: put\nid: 200\ndata: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=["not-text", "half-json", "a-list", "no-endpoints", "not-ours", "long-key", "negative", "float", "deep"],
)  # fmt: skip
async def test_garbage(registry: Registry, watched: tuple[Subject, Watch], nonsense: bytes) -> None:
    sidecar, watch = watched
    await watch.send(nonsense)
    await sidecar.reaches(1, "skycap_feed_refused_total")
    await is_right(sidecar)
    again = await registry.watch()
    assert again.last_event_id is None, "whoever talks nonsense is asked for everything"
    assert (await sidecar.page("/routes"))["total"] == 1


@pytest.mark.parametrize("half", [b"event: snapshot\nid: 200\nda", b"event: delete\nid: 200\ndata: {", b": keep-al"])
async def test_half_a_frame(registry: Registry, watched: tuple[Subject, Watch], half: bytes) -> None:
    sidecar, watch = watched
    await watch.send(half)
    watch.cut()
    again = await registry.watch()
    assert again.last_event_id == "100", "nothing of the half was applied"
    await is_right(sidecar)
    await again.send(synced(100))
    await sidecar.reaches(1, "skycap_feed_connected")


async def test_half_a_snapshot(registry: Registry, watched: tuple[Subject, Watch], shadow: int) -> None:
    """A new table is swapped in as a whole or not at all."""
    sidecar, watch = watched
    await watch.send(snapshot(200), snapshot(200, route_of("b", shadow)))
    watch.cut()
    await registry.watch()
    await is_right(sidecar)
    assert [one["key"] for one in (await sidecar.page("/routes"))["routes"]] == ["agent-42"]


async def test_an_endless_line(registry: Registry, watched: tuple[Subject, Watch]) -> None:
    sidecar, watch = watched
    before = sidecar.resident
    with contextlib.suppress(ConnectionError):
        await watch.send(b"event: put\nid: 200\ndata: ")
        for _ in range(64):
            await watch.send(b"x" * MIB)
    await sidecar.reaches(1, "skycap_feed_refused_total")
    assert sidecar.resident - before < 32 * MIB
    await is_right(sidecar)


async def test_an_older_revision(registry: Registry, watched: tuple[Subject, Watch]) -> None:
    """On one stream the past is skipped; only a whole new table of a restored registry may be older."""
    sidecar, watch = watched
    await watch.send(put(99, "agent-42", 1))
    await sidecar.reaches(1, "skycap_feed_ignored_total")
    await is_right(sidecar)
    watch.close()
    restored = await registry.watch()
    assert restored.last_event_id == "100"
    await restored.send(Event("synced", "{}", "50"))
    await sidecar.reaches(1, "skycap_feed_refused_total")
    await is_right(sidecar)


@pytest.mark.parametrize("at", ["inbound", "outbound", "admin"])
async def test_a_table_with_a_cycle(watched: tuple[Subject, Watch], origin: Origin, at: str) -> None:
    """A route that leads back to the sidecar that asks: the request that takes it is refused, all others go on."""
    sidecar, watch = watched
    own = {"inbound": sidecar.inbound, "outbound": sidecar.outbound, "admin": sidecar.admin}[at]
    await watch.send(put(101, "cycle", own))
    await sidecar.reaches(101, "skycap_feed_applied_revision")
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", b"baggage: routing-key=cycle"))
    head, body = await client.message()
    assert head.startswith(b"HTTP/1.1 508 ")
    assert error_code(head) == b"loop"
    assert b"own listeners" in body
    client.close()
    assert origin.requests == []
    await is_right(sidecar)
    assert await sidecar.metric("skycap_connections_accepted_total") == 3


@pytest.mark.parametrize("status", ["garbage", "redirect", "html"])
async def test_an_answer_that_is_no_watch(watched: tuple[Subject, Watch], registry: Registry, status: str) -> None:
    """Something else has taken the registry's port."""
    sidecar, _ = watched
    port = registry.port
    await registry.stop()
    answer = {
        "garbage": b"\x16\x03\x01\0\0\r\n\r\n",
        "redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "html": ok(b"<html>", b"content-type: text/html"),
    }[status]
    met = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            met += 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await until(lambda: met >= 2, "it comes back, after a while")
    await is_right(sidecar)
    assert await sidecar.metric("skycap_feed_connected") == 0
    server.close()
    await server.wait_closed()
