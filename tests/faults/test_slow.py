"""Peers that do not read, or that write a little at a time: memory is bounded, and everybody else is served."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import Subject, steady, until

MIB = 1 << 20
SIZE = 48 * MIB
PIECE = bytes(range(256)) * 256
GROWTH_LIMIT = 16 * MIB
"""Of the sidecar, while 48 MiB wait to be taken. Its own buffers for one connection are below 1 MiB."""

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
CROWD = 5000 if HARD >= 6000 else 2000
"""Slow clients at once: as many files here, and again as many in the sidecar, which has its own limit."""


@pytest.mark.parametrize("side", ["inbound", "outbound"])
async def test_a_client_that_does_not_read(sidecar: Subject, origin: Origin, side: str) -> None:
    sent = 0
    finished = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
        while sent < SIZE:
            await peer.send(PIECE)
            sent += len(PIECE)
        finished.set()

    origin.script = script
    before = sidecar.resident
    client = await connect(sidecar.port(side))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(request())
    await until(lambda: sent, "the answer begins")
    stopped = await steady(lambda: sent, 0.2)
    assert stopped < SIZE
    assert sidecar.resident - before < GROWTH_LIMIT
    assert await sidecar.metric("skycap_reads_paused_total", direction=side, peer="upstream") > 0
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await client.head()
    for _ in range(SIZE // len(PIECE)):
        assert await client.exactly(len(PIECE)) == PIECE
    assert finished.is_set()
    client.close()


@pytest.mark.parametrize("side", ["inbound", "outbound"])
async def test_an_application_that_does_not_read(sidecar: Subject, origin: Origin, side: str) -> None:
    read = asyncio.Event()
    got = 0

    async def script(peer: Peer) -> None:
        nonlocal got
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await read.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while got < SIZE:
            assert await peer.exactly(len(PIECE)) == PIECE
            got += len(PIECE)
        await peer.send(ok(b"thanks"))

    origin.script = script
    before = sidecar.resident
    client = await connect(sidecar.port(side))
    sent = 0

    async def upload() -> None:
        nonlocal sent
        await client.send(request(b"/", b"content-length: %d" % SIZE, method=b"POST"))
        while sent < SIZE:
            await client.send(PIECE)
            sent += len(PIECE)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(upload())
        await until(lambda: sent, "the upload begins")
        assert await steady(lambda: sent, 0.2) < SIZE
        assert sidecar.resident - before < GROWTH_LIMIT
        assert await sidecar.metric("skycap_reads_paused_total", direction=side, peer="downstream") > 0
        read.set()
    assert (await client.message())[1] == b"thanks"
    client.close()


async def test_a_pipeline_of_a_client_that_does_not_read(sidecar: Subject, origin: Origin) -> None:
    """It is asked to slow down; it cannot make the sidecar keep what it sends."""
    before = sidecar.resident
    client = await connect(sidecar.inbound)
    pipeline = request(b"/?" + b"x" * 1000) * 1000
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            client.writer.write(pipeline)
            await client.writer.drain()
            sent += len(pipeline)

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.ended()

    origin.script = script
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.TaskGroup() as tasks:
        flooding = tasks.create_task(flood())
        await until(lambda: origin.connections, "the first request is with the application")
        await steady(lambda: sent, 0.2)
        assert sidecar.resident - before < GROWTH_LIMIT
        flooding.cancel()
    client.reset()


async def test_a_head_that_comes_byte_by_byte(sidecar: Subject, origin: Origin) -> None:
    """Every byte in time is not enough: the whole head has a deadline (--header-timeout, here 1 s)."""
    client = await connect(sidecar.inbound)
    answer = b""
    for byte in request().partition(b" HTTP/")[0]:
        client.writer.write(bytes([byte]))
    while not answer:
        client.writer.write(b"x")
        try:
            async with asyncio.timeout(0.05):
                answer = await client.reader.read(65536)
        except TimeoutError:
            continue  # without a deadline of the whole head for ever: the limit of this test ends it then
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert error_code(answer) == b"header-timeout"
    assert origin.requests == []
    client.close()


@pytest_asyncio.fixture
async def patient(application: socket.socket, tmp_path: Path) -> AsyncIterator[Subject]:
    """A sidecar that gives up on heads only: the application shares its processor with the crowd."""
    with subject.running(application.getsockname()[1], tmp_path, "--header-timeout", "1s") as running:
        yield running
        await peers.hang_up()
        await running.at_rest()


@pytest.mark.skipif(HARD < 2500, reason=f"needs 2,500 open files, the hard limit is {HARD}")
async def test_a_crowd_of_slow_heads(patient: Subject, origin: Origin) -> None:
    """Thousands of clients that never finish a head, while normal traffic flows and none of it fails or waits long:
    an answer has the deadline of `Peer.message`."""
    sidecar = patient
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    before = sidecar.resident
    expired = await sidecar.metric("skycap_timeouts_total", direction="inbound", phase="header")
    served = waiting = 0

    async def normal() -> None:
        nonlocal served
        client = await connect(sidecar.inbound)
        for _ in range(25):
            await client.send(request(b"/", method=b"POST", body=b"x" * 100))
            head, body = await client.message()
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body == b"100"
            served += 1
        client.close()

    async def slow() -> bytes:
        nonlocal waiting
        client = await connect(sidecar.inbound)
        client.writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
        waiting += 1
        data, _ = await client.rest()
        client.close()
        return data

    try:
        async with asyncio.TaskGroup() as tasks:
            crowd = [tasks.create_task(slow()) for _ in range(CROWD)]
            await until(lambda: waiting == CROWD, "the whole crowd is there")
            for _ in range(4):
                tasks.create_task(normal())
        answers = [each.result() for each in crowd]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, HARD))
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 408 "}
    assert await sidecar.metric("skycap_timeouts_total", direction="inbound", phase="header") == expired + CROWD
    assert served == 100
    assert sidecar.resident - before < CROWD * 16 * 1024
