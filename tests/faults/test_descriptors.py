"""File descriptors run short: who is connected is served, the log and the figures say so, and it passes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import WORKLOAD, Subject, steady, until

LIMIT = 64
USABLE = 48
CROWD = 100
CALM_SECONDS = 1.0

WAIT = "48 of 64 file descriptors are in use: new connections wait until some are closed"
NONE_LEFT = "no file descriptor is left (limit 64): requests that need a new connection get 503 overloaded"


@pytest_asyncio.fixture(autouse=True)
async def _clients() -> AsyncIterator[None]:
    yield
    await peers.hang_up()


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def few_files_until_raised() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT // 2, LIMIT))


async def is_served(client: Peer, path: bytes) -> None:
    await client.send(request(path))
    assert (await client.message())[0].startswith(b"HTTP/1.1 200 ")


async def is_calm(sidecar: Subject) -> None:
    """Nobody spins: connections that wait do not wake the loop again and again."""
    before = sidecar.cpu_seconds
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CALM_SECONDS):
            await until(lambda: sidecar.process.poll() is not None, "never", 60)
    assert sidecar.cpu_seconds - before < CALM_SECONDS / 3, "it burns the processor"


async def comes_back(sidecar: Subject, origin: Origin) -> None:
    """Everybody has gone: whoever comes next is served, and nothing is left."""
    fresh = await connect(sidecar.inbound)
    await is_served(fresh, b"/after")
    assert origin.paths[-1] == b"/after"
    await peers.hang_up()


@pytest.mark.parametrize("prepare", [few_files, few_files_until_raised])
async def test_more_clients_than_descriptors(application: socket.socket, tmp_path: Path, prepare: object) -> None:
    """Nobody is turned away: the first are served, the others wait for their turn."""
    assert callable(prepare)
    with subject.running(application.getsockname()[1], tmp_path, prepare=prepare) as sidecar:
        async with peers.serving(application) as origin:
            first = await connect(sidecar.inbound)
            await is_served(first, b"/before")
            crowd = [await connect(sidecar.inbound) for _ in range(CROWD)]
            await sidecar.reaches(1, "skycap_accepting_paused_total")

            await is_served(first, b"/during")
            connected = await steady(lambda: len(sidecar.peers()))
            assert 8 < connected < USABLE
            assert sidecar.open_files() <= USABLE + 2, "what is left is for answering"
            await is_calm(sidecar)

            # As many at once as descriptors are kept for.
            turn = asyncio.Semaphore(LIMIT - USABLE - 4)

            async def served(client: Peer) -> None:
                async with turn:
                    await is_served(client, b"/crowd")
                    client.close()

            await asyncio.gather(*(served(client) for client in crowd))
            assert Counter(origin.paths) == {b"/before": 1, b"/during": 1, b"/crowd": CROWD}
            assert sidecar.log.count(WAIT) == 1, "once a minute, however often"
            assert await sidecar.metric("skycap_failures_total") == 0
            await comes_back(sidecar, origin)
        await sidecar.at_rest()


async def test_no_descriptor_is_left_for_a_dial(application: socket.socket, tmp_path: Path) -> None:
    """503 at once, with a code of its own: never a wait, and never the baseline in place of a shadow that is well."""
    go = asyncio.Event()

    async def hold(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await origin.take(peer)
                await go.wait()
                await peer.send(ok(b"whole"))

    port = application.getsockname()[1]
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        f"routes:\n- {{workload: {WORKLOAD}, key: a, endpoints: ['127.0.0.1:{port}'], onUnavailable: baseline}}\n"
    )
    with subject.running(port, tmp_path, "--routes", str(routes), prepare=few_files) as sidecar:
        async with peers.serving(application) as origin:
            origin.script = hold
            crowd = [await connect(sidecar.inbound) for _ in range(CROWD)]
            await sidecar.reaches(1, "skycap_accepting_paused_total")
            await steady(lambda: len(sidecar.peers()))
            answers: Counter[bytes] = Counter()

            async def asked(client: Peer, number: int) -> None:
                await client.send(request(b"/", *([b"baggage: routing-key=a"] if number % 2 else [])))
                async with asyncio.timeout(30):
                    head = await client.reader.readuntil(b"\r\n\r\n")
                answers[head.split(b" ")[1] + error_code(head)] += 1
                if error_code(head) and number % 2:
                    assert b"skycap-served-by: shop/users;error=overloaded" in head
                client.close()

            async with asyncio.TaskGroup() as tasks:
                for number, client in enumerate(crowd):
                    tasks.create_task(asked(client, number))
                await until(lambda: answers[b"503overloaded"], "a dial finds none")
                go.set()
            assert set(answers) == {b"200", b"503overloaded"}, "answered by who was asked, or by us at once"
            assert answers.total() == CROWD
            assert len(origin.requests) == answers[b"200"]
            assert sidecar.log.count(NONE_LEFT) == 1
            refused = await sidecar.metric("skycap_failures_total", direction="inbound", code="overloaded")
            assert refused == answers[b"503overloaded"]
            origin.script = origin.answer
            await comes_back(sidecar, origin)
        await sidecar.at_rest()


async def test_the_admin_listener_has_a_share_of_its_own(application: socket.socket, tmp_path: Path) -> None:
    """Its clients cannot use up what requests need, and one that keeps its place does not keep others out."""
    with subject.running(application.getsockname()[1], tmp_path, prepare=few_files) as sidecar:
        async with peers.serving(application) as origin:
            first = await connect(sidecar.inbound)
            await is_served(first, b"/before")
            before = sidecar.open_files()
            for _ in range(CROWD):
                await connect(sidecar.admin)
            await until(lambda: sidecar.open_files() > before, "they are accepted")
            assert await steady(sidecar.open_files) <= before + 5
            assert WAIT not in sidecar.log
            assert (await sidecar.page("/live")) == {"live": True}
            for number in range(10):
                await is_served(await connect(sidecar.inbound), b"/during/%d" % number)
            assert await sidecar.metric("skycap_accepting_paused_total") == 0
            await is_calm(sidecar)
            await comes_back(sidecar, origin)
        await sidecar.at_rest()


@pytest.mark.parametrize("first", [b"", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx", b"GET / HT"])
async def test_who_only_keeps_a_connection_gives_way(application: socket.socket, tmp_path: Path, first: bytes) -> None:
    """Silent clients, those whose body has come to a standstill, and half a head: whoever comes next is served."""

    async def script(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                await origin.take(peer)
                await peer.send(ok(b"whole"))

    port = application.getsockname()[1]
    with subject.running(port, tmp_path, "--sniff-delay", "0", prepare=few_files) as sidecar:
        async with peers.serving(application) as origin:
            origin.script = script
            idlers = [await connect(sidecar.inbound) for _ in range(CROWD)]
            for idler in idlers:
                await idler.send(first)
            await sidecar.reaches(1, "skycap_accepting_paused_total")
            fresh = await connect(sidecar.inbound)
            await fresh.send(request(b"/fresh"))
            async with asyncio.timeout(45):
                assert (await fresh.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await sidecar.metric("skycap_clients_gave_way_total") > 0
            await peers.hang_up()
        await sidecar.at_rest()
