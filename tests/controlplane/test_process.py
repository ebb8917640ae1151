"""The real process: how it starts, how it refuses to, and what survives kill -9."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web

from controlplane.launch.process import ProcessLauncher
from controlplane.model.sandbox import Phase, Sandbox, Status
from controlplane.model.workload import Readiness, Workload
from controlplane.process.listeners import holder
from proxy.base.tasks import Tasks
from tests.acceptance.running import serving
from tests.controlplane.api.served import Stream
from tests.controlplane.eventually import eventually
from tests.controlplane.running import refused, start
from tests.controlplane.sandboxes import USERS, document, fork, sandbox
from tests.faults.subject import running

APP = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ.get("MARK", "").encode())
print("serving", os.environ["PORT"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

DEFINITION = Workload(
    workload=USERS,
    address="127.0.0.1:18080",
    command=(sys.executable, "-c", APP),
    readiness=Readiness(path="/"),
)


@pytest.fixture
async def streams() -> AsyncIterator[Tasks]:
    streams = Tasks("streams")
    yield streams
    await streams.close()


def status(document: object) -> Status:
    found = getattr(document, "status", None)
    assert isinstance(found, Status)
    return found


async def test_it_says_where_it_listens_and_ends_with_0(tmp_path: Path) -> None:
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory")
    async with registry.client() as client:
        assert await client.ready()
    code, said = await registry.end()
    assert code == 0
    assert "Traceback" not in said


async def test_its_state_goes_where_nobody_else_can_read_it(tmp_path: Path) -> None:
    registry = await start(tmp_path, SKYCAP_LISTEN="127.0.0.1:0")
    await registry.end()
    folder = tmp_path / ".local/state/skycap"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "registry.db").stat().st_mode & 0o777 == 0o600


async def test_every_problem_of_the_configuration_at_once(tmp_path: Path) -> None:
    code, lines = await refused(
        tmp_path,
        "--listen", "nowhere", "--default-ttl", "soon", "--endpoint-networks", "10.0.0.0/8,10.0.0.1/8,x",
        "--token-file", str(tmp_path / "none"), "--memory", "--store", "x", "--log-level", "loud",
    )  # fmt: skip
    assert code == 2
    assert lines == [
        "skycap controlplane: --listen: 'nowhere' is not HOST:PORT",
        "skycap controlplane: --default-ttl: 'soon' is not a number with a unit: 90s, 30m, 4h or 7d",
        (
            "skycap controlplane: --endpoint-networks: '10.0.0.1/8', 'x' is not a network in CIDR notation, "
            "like 10.0.0.0/8"
        ),
        "skycap controlplane: --log-level: 'loud' is none of debug, info, warning, error",
        f"skycap controlplane: --token-file: {tmp_path / 'none'}: No such file or directory",
        "skycap controlplane: --memory: keeps nothing, and --store says where to keep it: say one of them",
    ]


async def test_no_other_address_than_loopback_without_a_token(tmp_path: Path) -> None:
    code, lines = await refused(tmp_path, "--listen", "0.0.0.0:0", "--memory")
    assert code == 2
    assert len(lines) == 1
    assert "is not loopback, so a token is needed" in lines[0]


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        port = taken.getsockname()[1]
        said = f"skycap controlplane: --listen: port {port} is in use by {holder(port)}"
        code, lines = await refused(tmp_path, "--listen", listen)
    assert f"process {os.getpid()} " in said
    assert (code, lines) == (2, [said])
    assert not (tmp_path / ".local").exists()


async def test_a_store_that_is_in_use_is_one_line(tmp_path: Path) -> None:
    store = str(tmp_path / "registry.db")
    first = await start(tmp_path, "--listen", "127.0.0.1:0", "--store", store)
    try:
        code, lines = await refused(tmp_path, "--listen", "127.0.0.1:0", "--store", store)
    finally:
        await first.end()
    assert (code, lines) == (2, [f"skycap controlplane: --store: {store} is in use by another process"])


def lasting(sandbox: Sandbox) -> Status:
    """What is stored of a status: who knows a workload, and who else forks it, is looked at anew."""
    found = status(sandbox)
    conditions = tuple(one for one in found.conditions if one.type != "WorkloadsKnown")
    forks = tuple(one.model_copy(update={"also_forked_by": None}) for one in found.forks)
    return found.model_copy(update={"conditions": conditions, "forks": forks})


async def test_kill_9_loses_nothing_and_a_watch_resumes(tmp_path: Path, streams: Tasks) -> None:
    arguments = ("--store", str(tmp_path / "registry.db"), "--state-dir", str(tmp_path / "shadows"))
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", *arguments)
    try:
        async with registry.client() as client:
            await client.apply(sandbox("a", fork(reachable=False)))
            before = lasting(await client.wait("a"))
            stream = Stream(client, USERS, "users-1")
            streams.spawn(stream.run(), "watch")
            await eventually(lambda: stream.synced)
            last = stream.last
            await client.apply(sandbox("b", fork(reachable=False)))
            await stream.until("put", "put")
            seen = stream.last
            await registry.kill()
            await eventually(stream.ended.is_set)
        registry = await start(tmp_path, "--listen", f"127.0.0.1:{registry.port}", *arguments)
        async with registry.client() as client:
            assert lasting(await client.sandbox("a")) == before
            resumed, behind = Stream(client, USERS, "users-1", seen), Stream(client, USERS, "users-2", last)
            streams.spawn(resumed.run(), "watch")
            streams.spawn(behind.run(), "watch")
            await eventually(lambda: resumed.synced and behind.synced)
            assert resumed.names == ["synced"]
            assert behind.names == ["put", "put", "synced"]
            assert resumed.last == behind.last == seen
            await client.apply(sandbox("c", fork(reachable=False)))
            await resumed.until("put", "put")
            assert int(resumed.events[1].id) == int(seen) + 1
            await streams.close()
    finally:
        assert (await registry.end())[0] == 0


class Shadows:
    """The processes of shadows, found by what they were started with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pids(self) -> set[int]:
        found = set()
        for process in psutil.process_iter(["environ", "cmdline"]):
            environ, line = process.info["environ"] or {}, process.info["cmdline"] or []
            if environ.get("MARK") == str(self._folder) and line[1:2] == ["-c"]:
                found.add(process.pid)
        return found


@pytest.fixture
async def shadows(tmp_path: Path) -> AsyncIterator[Shadows]:
    yield Shadows(tmp_path)
    await ProcessLauncher(tmp_path / "shadows").sweep()


async def test_shadows_outlive_kill_9_are_adopted_and_end_with_the_registry(
    tmp_path: Path, shadows: Shadows, streams: Tasks
) -> None:
    arguments = ("--store", str(tmp_path / "registry.db"), "--state-dir", str(tmp_path / "shadows"))
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", *arguments)
    try:
        fork = {"workload": USERS, "command": list(DEFINITION.command), "env": {"MARK": str(tmp_path)}}
        async with registry.client() as client:
            await client.put_workload(DEFINITION)
            await client.apply(document("a", fork))
            before = lasting(await client.wait("a", 30))
            assert before.phase is Phase.READY, before.forks[0].message
            (output,) = await client.logs("a")
            assert "serving" in output.log
            pids = shadows.pids()
            assert len(pids) == 1
            stream = Stream(client, USERS)
            streams.spawn(stream.run(), "watch")
            await eventually(lambda: stream.synced)
            last = stream.last
            await registry.kill()
        assert shadows.pids() == pids
        registry = await start(tmp_path, "--listen", f"127.0.0.1:{registry.port}", *arguments)
        async with registry.client() as client:
            assert lasting(await client.sandbox("a")) == before
            stream = Stream(client, USERS, last=last)
            streams.spawn(stream.run(), "watch")
            await eventually(lambda: stream.synced)
            (output,) = await client.logs("a")
            assert "serving" in output.log
            assert shadows.pids() == pids
            assert stream.names == ["synced"]
            await streams.close()
        assert (await registry.end())[0] == 0
        assert shadows.pids() == set()
        registry = await start(tmp_path, "--listen", f"127.0.0.1:{registry.port}", *arguments)
        async with registry.client() as client:
            stream = Stream(client, USERS)
            streams.spawn(stream.run(), "watch")
            await eventually(lambda: stream.states[-1:] == ["ready"])
            assert status(await client.sandbox("a")).forks[0].revision == 1
            await streams.close()
        assert len(shadows.pids()) == 1
    finally:
        await registry.end()
    assert shadows.pids() == set()


async def test_a_process_that_does_not_start_says_why_with_its_last_lines(tmp_path: Path) -> None:
    arguments = ("--store", str(tmp_path / "registry.db"), "--state-dir", str(tmp_path / "shadows"))
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", *arguments)
    try:
        async with registry.client() as client:
            await client.put_workload(DEFINITION)
            broken = [sys.executable, "-c", "import nowhere_to_be_found"]
            await client.apply(document("a", {"workload": USERS, "command": broken}))
            found = status(await client.wait("a", 30))
            assert found.phase is Phase.FAILED
            assert "No module named 'nowhere_to_be_found'" in found.forks[0].message
            (output,) = await client.logs("a")
            assert output.state == "ended"
            assert "ModuleNotFoundError" in output.log
    finally:
        await registry.end()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory")
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.port)
    signed = f"authorization: Bearer {registry.token()}"
    writer.write(f"GET /v1/sandboxes/a?wait=30s HTTP/1.1\r\nhost: localhost\r\n{signed}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    registry.process.terminate()
    registry.process.terminate()
    _, said = await registry.process.communicate()
    assert registry.process.returncode in (0, -15)
    assert b"Traceback" not in said
    writer.close()


async def test_a_shadow_that_sleeps_is_woken_by_the_request_that_waits_for_it(tmp_path: Path) -> None:
    """With real processes throughout: nothing runs of it in its sleep, and the first request gets its answer."""

    async def baseline(_: web.Request) -> web.Response:
        return web.Response(text="baseline")

    app = web.Application()
    app.router.add_get("/", baseline)
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory", "--state-dir", str(tmp_path / "shadows"))
    try:
        async with registry.client() as client, serving(app) as port, aiohttp.ClientSession() as session:
            watch = ("--registry", registry.url, "--token-file", registry.token_file)
            with running(port, tmp_path, *watch) as sidecar:
                await client.put_workload(DEFINITION)
                spec = {"workload": USERS, "command": [sys.executable, "-c", APP], "env": {"MARK": "shadow"}}
                await client.apply(document("a", spec, idle="1s"))
                assert status(await client.wait("a")).phase is Phase.READY
                shadows = psutil.Process(registry.process.pid)
                await eventually(lambda: not shadows.children())
                assert status(await client.sandbox("a")).phase is Phase.SLEEPING
                async with session.get(sidecar.url, headers={"baggage": "routing-key=a"}) as answer:
                    assert (answer.status, await answer.text()) == (200, "shadow")
                    assert answer.headers["skycap-served-by"] == f"{USERS};sandbox=a;rev=1"
                assert status(await client.wait("a")).phase is Phase.READY
    finally:
        code, said = await registry.end()
    assert (code, "Traceback" in said) == (0, False)
