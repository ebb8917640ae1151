"""SIGTERM under load: whoever was accepted is answered, the end is announced, and the exit code is 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import pytest

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


async def test_the_calls_of_the_application_go_on(application: socket.socket, tmp_path: Path) -> None:
    """They belong to the request that the drain waits for: on a connection of their own, and on one that was there."""
    waiting, draining = asyncio.Event(), asyncio.Event()
    answers: list[bytes] = []

    with subject.running(application.getsockname()[1], tmp_path) as sidecar:

        async def script(peer: Peer) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head, _ = await peer.message()
                    if b" /payments " in head:
                        await peer.send(ok(b"paid"))
                        continue
                    kept = await connect(sidecar.outbound)
                    await kept.send(request(b"/payments"))
                    answers.append((await kept.message())[1])
                    waiting.set()
                    await draining.wait()
                    fresh = await connect(sidecar.outbound)
                    for caller in (kept, fresh):
                        await caller.send(request(b"/payments"))
                        answers.append((await caller.message())[1])
                        caller.close()
                    await peer.send(ok(b"ordered"))

        async with peers.serving(application) as origin:
            origin.script = script
            client = await connect(sidecar.inbound)
            await client.send(request(b"/order"))
            await waiting.wait()
            sidecar.process.terminate()
            await until(lambda: "draining" in sidecar.log, "it drains")
            draining.set()
            head, body = await client.message()
            assert (body, answers) == (b"ordered", [b"paid"] * 3)
            assert b"connection: close" in head.lower()
            client.close()
            await until(lambda: sidecar.process.poll() is not None, "it ends")
    assert sidecar.process.returncode == 0
    assert "0 connections cut" in sidecar.log


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
async def test_no_other_signal_cuts_a_request(
    application: socket.socket, tmp_path: Path, number: signal.Signals
) -> None:
    """A terminal that is closed, a log rotation, `kill -HUP` to read the configuration again."""
    received, sent = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        received.set()
        await sent.wait()
        await peer.send(ok(b"whole"))

    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: []")
    with subject.running(application.getsockname()[1], tmp_path, "--routes", str(routes)) as sidecar:
        async with peers.serving(application) as origin:
            origin.script = script
            client = await connect(sidecar.inbound)
            await client.send(request())
            await received.wait()
            for _ in range(2):
                sidecar.process.send_signal(number)
            if number is signal.SIGHUP:
                await until(lambda: "SIGHUP: asking file" in sidecar.log, "it reads the file again")
                await until(lambda: sidecar.log.count("0 routes of shop/users in force") >= 2, "and has read it")
            sent.set()
            assert (await client.message())[1] == b"whole"
            client.close()
        assert sidecar.process.poll() is None


async def test_sigquit_drains(application: socket.socket, tmp_path: Path) -> None:
    """As in nginx; by default it would dump core."""
    with subject.running(application.getsockname()[1], tmp_path) as sidecar:
        sidecar.process.send_signal(signal.SIGQUIT)
        await until(lambda: sidecar.process.poll() is not None, "it ends")
    assert sidecar.process.returncode == 0


async def test_sighup_without_routes_says_so(application: socket.socket, tmp_path: Path) -> None:
    with subject.running(application.getsockname()[1], tmp_path) as sidecar:
        sidecar.process.send_signal(signal.SIGHUP)
        await until(lambda: "SIGHUP: there is no routes file to read again" in sidecar.log, "it says so")
        assert "neither --routes nor --registry: every request goes to the application" in sidecar.log


async def test_a_shadow_needs_no_routes_and_says_nothing_of_them(application: socket.socket, tmp_path: Path) -> None:
    shadow = ("--sandbox", "agent-42", "--routing-key", "agent-42", "--revision", "1")
    with subject.running(application.getsockname()[1], tmp_path, *shadow) as sidecar:
        sidecar.process.send_signal(signal.SIGHUP)
        await until(lambda: "SIGHUP: there is no routes file to read again" in sidecar.log, "it says so")
        assert "neither --routes" not in sidecar.log
