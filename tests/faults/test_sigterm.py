"""SIGTERM under load: whoever was accepted is answered, the end is announced, and the exit code is 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

from tests.faults import peers, subject
from tests.faults.peers import Peer, connect, ok, request
from tests.faults.subject import until

WORKERS = 16
SLOW = 4


async def test_no_accepted_request_fails(application: socket.socket, tmp_path: Path) -> None:
    ended = asyncio.Event()
    waiting = 0

    async def script(peer: Peer) -> None:
        nonlocal waiting
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, _ = await peer.message()
                if b" /slow " in head:
                    waiting += 1
                    await ended.wait()
                await peer.send(ok(b"whole"))

    answered = 0
    problems: list[str] = []
    with subject.running(application.getsockname()[1], tmp_path) as sidecar:
        async with peers.serving(application) as origin:
            origin.script = script

            async def work(path: bytes) -> None:
                nonlocal answered
                client = await connect(sidecar.inbound)
                while True:
                    await client.send(request(path))
                    head, body = await client.message()
                    if not head.startswith(b"HTTP/1.1 200 ") or body != b"whole":
                        problems.append(repr(head))
                    answered += 1
                    if b"connection: close" in head.lower():
                        break
                assert await client.rest() == (b"", "closed")
                client.close()

            async with asyncio.TaskGroup() as tasks:
                for _ in range(WORKERS):
                    tasks.create_task(work(b"/"))
                for _ in range(SLOW):
                    tasks.create_task(work(b"/slow"))
                await until(lambda: answered > 300 and waiting == SLOW, "the load runs")
                sidecar.process.send_signal(signal.SIGTERM)
                await until(lambda: "draining" in sidecar.log, "it drains")
                ended.set()
            await until(lambda: sidecar.process.poll() is not None, "it ends")
            assert sidecar.process.returncode == 0
    assert not problems, problems
    assert "0 connections cut" in sidecar.log


async def test_what_does_not_end_is_cut_with_a_reset(application: socket.socket, tmp_path: Path) -> None:
    """An answer that is not finished when the time is over must not look finished."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        await peer.ended()

    with subject.running(application.getsockname()[1], tmp_path, "--drain-timeout", "500ms") as sidecar:
        async with peers.serving(application) as origin:
            origin.script = script
            client = await connect(sidecar.inbound)
            await client.send(request())
            await client.head()
            await client.exactly(10)
            sidecar.process.terminate()
            assert await client.rest() == (b"", "reset")
            client.close()
            await until(lambda: sidecar.process.poll() is not None, "it ends")
    assert "1 connections cut" in sidecar.log
