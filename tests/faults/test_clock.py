"""The wall clock jumps by a day, either way, under processes that run: nothing that is in flight may notice.

libfaketime stands between the processes and their clock; the monotonic clock stays the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.client import Client
from controlplane.model.sandbox import Phase
from proxy.exchange.settings import TICK_SECONDS
from tests.acceptance.running import free_port
from tests.controlplane.eventually import eventually
from tests.controlplane.running import SAID, RegistryProcess, environment
from tests.controlplane.sandboxes import document, fork
from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import WORKLOAD, until
from tests.faults.watching import watching
from tests.proxy.feed.documents import put, snapshot, synced
from tests.proxy.feed.documents import route as route_of
from tests.proxy.feed.registry_server import Registry
from tests.tools import require

DAY = 86400
HEADER_SECONDS = 2.0
IDLE_SECONDS = 3.0

pytestmark = pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])


class WallClock:
    """The wall clock of processes that `launcher` starts. ahead: seconds, of the machine's."""

    def __init__(self, folder: Path) -> None:
        require("faketime")
        library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
        assert library is not None, "faketime is installed, and its library is not where Debian puts it"
        self._offset = folder / "offset"
        self.ahead = 0
        self.set(0)
        self.launcher = (
            "env", f"LD_PRELOAD={library}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1",
            f"FAKETIME_TIMESTAMP_FILE={self._offset}", sys.executable, "-m",
        )  # fmt: skip

    def set(self, ahead: int) -> None:
        self.ahead = ahead
        whole = self._offset.with_suffix(".new")
        whole.write_text(f"{ahead:+d}s\n")
        whole.rename(self._offset)  # read with every look at the clock

    async def seen(self, port: int) -> None:
        """Return when the server on `port`, an aiohttp one, says the hour that was set."""
        async with asyncio.timeout(subject.DEADLINE_SECONDS):
            while True:
                client = await connect(port)
                await client.send(b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                head = (await client.head()).decode()
                client.close()
                said = next(line for line in head.splitlines() if line.lower().startswith("date:"))
                date = email.utils.parsedate_to_datetime(said.partition(":")[2].strip())
                if abs(date.timestamp() - time.time() - self.ahead) < 3600:
                    return


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest_asyncio.fixture(autouse=True)
async def _clients() -> AsyncIterator[None]:
    yield
    await peers.hang_up()


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[Registry]:
    serving = Registry()
    await serving.start()
    yield serving
    await serving.stop()


class Phases:
    """An application that waits for `go` in the middle of whatever its request asks for."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.go = asyncio.Event()
        self.reached: set[bytes] = set()

    async def script(self, peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await peer.head()
                self._origin.requests.append(head)
                path = head.split(b" ", 2)[1]
                if path == b"/waits":
                    await self._hold(path)
                    await peer.send(ok(b"whole"))
                elif path == b"/streams":
                    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
                    await self._hold(path)
                    await peer.send(b"half")
                elif path == b"/uploads":
                    assert await peer.exactly(4) == b"half"
                    await self._hold(path)
                    assert await peer.exactly(4) == b"half"
                    await peer.send(ok(b"whole"))
                elif path == b"/tunnel":
                    await peer.send(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
                    while True:
                        await peer.send(await peer.exactly(4))
                else:
                    await peer.send(ok(b"whole"))

    async def _hold(self, path: bytes) -> None:
        self.reached.add(path)
        await self.go.wait()


async def test_requests_timers_and_the_feed(
    clock: WallClock, registry: Registry, application: socket.socket, origin: Origin, tmp_path: Path, jump: int
) -> None:
    phases = Phases(origin)
    origin.script = phases.script
    limits = ("--header-timeout", f"{HEADER_SECONDS:g}s", "--idle-timeout", f"{IDLE_SECONDS:g}s")
    with subject.running(
        application.getsockname()[1],
        tmp_path,
        *limits,
        "--registry",
        registry.url,
        launcher=(*clock.launcher, "proxy"),
    ) as sidecar:
        watch = await registry.watch()
        await watch.send(snapshot(100, route_of("agent-42", application.getsockname()[1])), synced(100))
        await sidecar.reaches(100, "skycap_feed_applied_revision")

        waits, streams, uploads, tunnel, slow, idle = [await connect(sidecar.inbound) for _ in range(6)]
        idle_since = time.monotonic()  # before what the limit begins with: it is we who may come late to see that
        await idle.send(request(b"/"))
        await idle.message()
        slow_since = time.monotonic()
        await slow.send(b"GET / HTTP/1.1\r\nhost: a\r\nx:")
        await waits.send(request(b"/waits"))
        await streams.send(request(b"/streams"))
        await uploads.send(request(b"/uploads", b"content-length: 8", method=b"POST") + b"half")
        await tunnel.send(request(b"/tunnel", b"connection: upgrade", b"upgrade: echo"))
        await tunnel.head()
        await until(lambda: len(phases.reached) == 3, "all are in flight")

        answered = 0
        ended = asyncio.Event()

        async def load() -> None:
            nonlocal answered
            client = await connect(sidecar.inbound)
            while not ended.is_set():
                await client.send(request(b"/load", b"baggage: routing-key=agent-42"))
                head, body = await client.message()
                assert (head.split(b" ")[1], body) == (b"200", b"whole")
                answered += 1
            client.close()

        async def timed_out() -> tuple[float, float]:
            head, _ = await slow.message()
            assert error_code(head) == b"header-timeout"
            after = time.monotonic() - slow_since
            assert await idle.ended() == "closed"
            return after, time.monotonic() - idle_since

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load())
            limits_kept = tasks.create_task(timed_out())
            await until(lambda: answered, "the load runs")
            clock.set(jump)
            await clock.seen(sidecar.admin)
            before = answered
            await watch.send(put(101, "agent-43", application.getsockname()[1]))
            await sidecar.reaches(101, "skycap_feed_applied_revision")
            await tunnel.send(b"ping")
            assert await tunnel.exactly(4) == b"ping"
            phases.go.set()
            assert (await waits.message())[1] == b"whole"
            assert (await streams.head()).startswith(b"HTTP/1.1 200 ")
            assert await streams.exactly(8) == b"halfhalf"
            await uploads.send(b"half")
            assert (await uploads.message())[1] == b"whole"
            header, silence = await limits_kept
            await until(lambda: answered > before + 50, "the load goes on")
            ended.set()
        # A timer is late on a busy machine, never early: a jump would have been a day of either.
        assert header >= HEADER_SECONDS - TICK_SECONDS
        assert silence >= IDLE_SECONDS - TICK_SECONDS
        assert registry.watches.empty(), "the watch was never opened again"
        assert await sidecar.metric("skycap_feed_failures_total") == 0
        assert await sidecar.metric("skycap_failures_total") == 1  # header-timeout
        assert await sidecar.metric("skycap_timeouts_total", phase="header") == 1
        for phase in ("connect", "response", "body", "tunnel", "hold"):
            assert await sidecar.metric("skycap_timeouts_total", phase=phase) == 0
        assert 0 <= await sidecar.metric("skycap_routes_age_seconds") < 60
        seconds = await sidecar.metric("skycap_request_duration_seconds_sum")
        assert 0 < seconds < 600, "durations are not the wall clock's"
        tunnel.reset()
        await peers.hang_up()
        async with asyncio.timeout(subject.DEADLINE_SECONDS):
            while (await sidecar.page("/connections"))["connections"]:
                pass


async def started(clock: WallClock, home: Path, port: int, *arguments: str) -> RegistryProcess:
    process = await asyncio.create_subprocess_exec(
        *clock.launcher, "controlplane", "--listen", f"127.0.0.1:{port}", *arguments,
        stdout=PIPE, stderr=PIPE, env=environment(home),
    )  # fmt: skip
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.startswith(SAID):
        raise AssertionError((await process.communicate())[1].decode())
    return RegistryProcess(process, line.removeprefix(SAID).decode().strip(), environment(home))


async def test_sandboxes_and_their_ttl(
    clock: WallClock, application: socket.socket, origin: Origin, tmp_path: Path, jump: int
) -> None:
    """Forward, what has expired by the wall clock ends and the log says why; back, nothing outlives its TTL."""
    app = application.getsockname()[1]
    port = free_port()
    registry = await started(clock, tmp_path, port, "--memory")
    said = ""
    try:
        with subject.running(app, tmp_path, "--registry", registry.url, "--token-file", registry.token_file) as sidecar:
            async with (
                Client(registry.url, timeout=30, environ=registry.environ) as client,
                watching(client, WORKLOAD) as heard,
            ):
                for name, ttl in (("long", "1h"), ("longest", "30d"), ("short", "5s")):
                    await client.apply(document(name, fork(WORKLOAD, app), ttl=ttl))
                await eventually(lambda: {"short", "long", "longest"} <= heard.ever)
                clock.set(jump)
                await clock.seen(port)
                # Somebody goes on working, which is when the registry looks at the clock, if not every 30 s anyway.
                await client.apply(document("nudge", fork(WORKLOAD, app), ttl="1s"))
                left = {"longest"} if jump > 0 else {"longest", "long"}
                await eventually(lambda: heard.keys == left, 20)
                living = [one for one in await client.sandboxes() if one.status and one.status.phase != Phase.DELETING]
                assert {one.name for one in living} == left
                await client.apply(document("after", fork(WORKLOAD, app), ttl="1h"))
                await client.wait("after", 30)
                await eventually(lambda: heard.keys == left | {"after"})
                assert not heard.ended
                assert heard.ids == sorted(heard.ids), "revisions grow, whatever the clock says"
                assert await sidecar.metric("skycap_feed_failures_total") == 0
                await sidecar.reaches(len(left) + 1, "skycap_routes")

            # A registry without memory begins anew, with ids of another time: its table counts.
            clock.set(2 * jump)
            _, said = await registry.end()
            registry = await started(clock, tmp_path, port, "--memory")
            async with Client(registry.url, timeout=30, environ=registry.environ) as client:
                await client.apply(document("new", fork(WORKLOAD, app)))
                await client.wait("new", 30)

                routed: list[str] = []
                async with asyncio.timeout(20):
                    while routed != ["new"]:
                        routed = [one["key"] for one in (await sidecar.page("/routes"))["routes"]]
            await peers.hang_up()
    finally:
        await registry.end()
    by = "1 day, 0:00:00"
    assert (f"gone forward by {by}" if jump > 0 else f"set back by {by}") in said
    assert ("sandbox long has expired" in said) == (jump > 0)
