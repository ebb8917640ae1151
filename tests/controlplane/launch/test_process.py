"""Shadows as they are in real life: a real application, the real sidecar, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.launch import pair, process
from controlplane.launch.port import Launcher, LaunchError, LaunchRequest, Running
from controlplane.launch.process import ProcessLauncher
from controlplane.model.copy_log import Window
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Readiness, Upstream, Workload
from controlplane.process.identity import decode_identity, identify
from controlplane.process.limits import Limits, control_groups
from tests.controlplane.process.marked import Marked, eventually

APP = str(Path(__file__).with_name("app.py"))
CODE = Path(APP).read_bytes()
PYTHON = sys.executable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shadows"


@pytest.fixture
async def launcher(folder: Path, marked: Marked) -> AsyncIterator[ProcessLauncher]:
    launcher = ProcessLauncher(folder, marked.environ)
    yield launcher
    await ProcessLauncher(folder, marked.environ).sweep()


def definition(*command: str, upstreams: tuple[Upstream, ...] = (), cwd: str = "", timeout: float = 30.0) -> Workload:
    return Workload(
        workload="shop/users",
        address="127.0.0.1:18080",
        command=command or (PYTHON, APP, "baseline"),
        cwd=cwd,
        env={"MARK": "baseline", "KEPT": "yes"},
        upstreams=upstreams,
        readiness=Readiness(path="/health", timeout=timeout),
    )


def request(
    *command: str, env: dict[str, str] | None = None, of: Workload | None = None, name: str = "agent-42"
) -> LaunchRequest:
    return LaunchRequest(name, "Key.42", 3, _fork(*command, env=env), of or definition())


def _fork(*command: str, env: dict[str, str] | None = None) -> Fork:
    return Fork(workload="shop/users", command=command or None, env=env)


def content(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


async def get(running: Running, path: str) -> aiohttp.ClientResponse:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.endpoints[0]}{path}", headers={"baggage": "routing-key=Key.42"}) as answer,
    ):
        await answer.read()
        return answer


async def test_a_shadow_is_the_baseline_but_for_what_differs(
    launcher: ProcessLauncher, folder: Path, tmp_path: Path, marked: Marked
) -> None:
    port: Launcher = launcher
    of = definition(cwd=str(tmp_path))
    running = await port.start(request(PYTHON, APP, "--port", "${PORT}", env={"MARK": "v2"}, of=of))

    answer = await get(running, "/who")
    who = await answer.json()
    assert answer.headers["skycap-served-by"] == "shop/users;sandbox=agent-42;rev=3"
    assert who["mark"] == "v2"
    assert who["cwd"] == str(tmp_path)
    assert who["arguments"] == ["--port", str(who["port"])]
    assert f"127.0.0.1:{who['port']}" not in running.endpoints
    assert "GET /who HTTP/1.1" in (await port.log(running, 10)).splitlines()

    await port.stop(running)
    assert not marked.alive()
    assert content(folder) == []
    await port.stop(running)
    assert await port.log(running, 10) == ""


async def test_a_fork_may_run_in_a_folder_of_its_own_and_tells_its_build(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "users.py").write_bytes(CODE)
    asked = request(of=definition(cwd=str(tmp_path)))
    fork = Fork(workload="shop/users", command=(PYTHON, "users.py"), cwd=str(mine))
    running = await launcher.start(replace(asked, fork=fork))
    who = await (await get(running, "/who")).json()
    assert who["cwd"] == str(mine)
    first = running.handle["build"]
    assert first["built"] == datetime.fromtimestamp((mine / "users.py").stat().st_mtime, UTC).isoformat()
    found = await ProcessLauncher(tmp_path / "shadows", launcher._environ).adopt(asked, running.handle)
    assert found is None or found.handle["build"] == first
    (mine / "users.py").write_bytes(CODE + b"# another")
    again = await launcher.start(replace(asked, fork=fork))
    assert again.handle["build"]["digest"] != first["digest"]


async def test_without_a_command_it_runs_that_of_the_baseline(launcher: ProcessLauncher) -> None:
    running = await launcher.start(request(env={"MARK": "v2"}))
    who = await (await get(running, "/who")).json()
    assert (who["arguments"], who["mark"]) == (["baseline"], "v2")


async def test_what_it_calls_it_calls_through_its_own_sidecar(launcher: ProcessLauncher) -> None:
    seen: list[str] = []

    async def serve(call: web.Request) -> web.Response:
        seen.append(call.headers.get("baggage", "no baggage"))
        return web.json_response({"path": call.path})

    application = web.Application()
    application.router.add_get("/{path:.*}", serve)
    async with TestServer(application, host="127.0.0.1") as payments:
        upstream = Upstream(name="payments", workload="shop/payments", address=f"127.0.0.1:{payments.port}")
        running = await launcher.start(request(of=definition(upstreams=(upstream,))))
        answer = await get(running, "/call/payments/charge")
        assert await answer.json() == {"path": "/charge"}
        await launcher.stop(running)
    assert seen == ["routing-key=Key.42"]


async def test_one_that_dies_while_starting(launcher: ProcessLauncher, folder: Path, marked: Marked) -> None:
    with pytest.raises(LaunchError) as caught:
        await launcher.start(request("sh", "-c", "echo first; echo second >&2; exit 3"))
    assert (
        str(caught.value) == "`sh -c 'echo first; echo second >&2; exit 3'` ended with exit code 3 before it was ready"
    )
    assert caught.value.log.splitlines()[:2] == [
        "first",
        "second",
    ]  # its sidecar may have said something by then
    assert not marked.alive()
    assert content(folder) == []


async def test_one_that_is_never_ready(
    launcher: ProcessLauncher, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "instead", lambda group, port: f"; {marked.alive()[group]} does not use {port}")
    with pytest.raises(LaunchError) as caught:
        await launcher.start(request("sleep", "60", of=definition(timeout=0.3)))
    said = re.fullmatch(
        r"`sleep 60` is not ready after 0.3 s: nothing listens on port ([0-9]+), which \$PORT says"
        r"; .*keeper\.py .* sleep 60 does not use ([0-9]+)",
        str(caught.value),
    )
    assert said is not None
    assert said[1] == said[2]
    assert not marked.alive()


async def test_a_sidecar_that_cannot_start(
    launcher: ProcessLauncher, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked.environ["SKYCAP_HOLD_TIMEOUT"] = "soon"
    with pytest.raises(LaunchError, match=r"the sidecar of `.*` ended with exit code 2 before it was ready") as caught:
        await launcher.start(request("sleep", "60"))
    assert "SKYCAP_HOLD_TIMEOUT" in caught.value.log
    assert not marked.alive()


async def test_an_application_without_a_sidecar_is_not_left_alone(
    launcher: ProcessLauncher, folder: Path, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(LaunchError, match=r"there is no program '/no/such/python'"):
        await launcher.start(request("sleep", "60"))
    await eventually(lambda: not marked.alive())
    assert content(folder) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request("no-such-program"), "there is no program 'no-such-program'"),
        (request(of=definition(cwd="/no/such/folder")), "the working directory /no/such/folder cannot be used"),
        (
            LaunchRequest("a", "a", 1, _fork("true")),
            "^workload: no baseline of shop/users is registered, so nothing says how a copy of it is run: start it",
        ),
        (
            LaunchRequest("a", "a", 1, _fork("true"), Workload(workload="shop/users", address="10.0.0.7:80")),
            "^command: the baseline of shop/users was not started by skycap, so nothing says how a copy of it is run",
        ),
        (
            request(
                env={"PORT": "80", "SKYCAP_SANDBOX": "x", "FINE": "1"},
                of=definition(upstreams=(Upstream(name="payments", workload="a/b", address="127.0.0.1:1"),)),
            ),
            r"env.PORT: every copy gets its own: it is the port .*; env.SKYCAP_SANDBOX: .* the sandbox of a shadow$",
        ),
    ],
)
async def test_what_cannot_be_started(
    launcher: ProcessLauncher, folder: Path, asked: LaunchRequest, message: str
) -> None:
    with pytest.raises(LaunchError, match=message):
        await launcher.start(asked)
    assert content(folder) == []


async def test_a_folder_that_cannot_be_made(tmp_path: Path, marked: Marked) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match=r"its folder .* cannot be made: File exists"):
        await ProcessLauncher(tmp_path / "file", marked.environ).start(request())


async def test_a_child_that_leaves_its_session_ends_with_its_shadow(launcher: ProcessLauncher, marked: Marked) -> None:
    script = f"setsid sleep 1000 & exec {PYTHON} {APP}"
    running = await launcher.start(request("sh", "-c", script))
    await eventually(lambda: any("sleep 1000" in line for line in marked.alive().values()))
    await launcher.stop(running)
    assert not marked.alive()


async def test_what_a_shadow_leaves_in_the_state_directory_is_for_its_owner(
    launcher: ProcessLauncher, folder: Path
) -> None:
    before = os.umask(0)
    try:
        running = await launcher.start(request())
    finally:
        os.umask(before)
    assert _open_to_others(folder) == []
    await launcher.stop(running)


def _open_to_others(folder: Path) -> list[str]:
    places = [folder, *folder.rglob("*")]
    assert len(places) > 2
    return [
        place.name for place in places if stat.S_IMODE(place.stat().st_mode) != (0o700 if place.is_dir() else 0o600)
    ]


async def test_a_start_that_is_cancelled_leaves_nothing(
    launcher: ProcessLauncher, folder: Path, marked: Marked
) -> None:
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(launcher.start(request("sleep", "60")))
        await eventually(lambda: len(marked.alive()) >= 2)
        starting.cancel()
    assert starting.cancelled()
    assert not marked.alive()
    assert content(folder) == []
    assert repr(launcher) == f"<ProcessLauncher {folder} 0 shadows>"


async def test_many_starts_at_once_get_ports_of_their_own(launcher: ProcessLauncher, marked: Marked) -> None:
    started = await asyncio.gather(*(launcher.start(request(name=f"agent-{number}")) for number in range(6)))
    ports = [port for running in started for port in running.handle["ports"]]
    assert len(set(ports)) == len(ports)
    assert len(marked.alive()) == 18, "application, keeper and sidecar of each"
    await asyncio.gather(*map(launcher.stop, started))
    assert not marked.alive()


async def test_a_start_that_hangs_does_not_hold_up_the_others(
    launcher: ProcessLauncher, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SLOT_SECONDS", 0.1)
    many = launcher._slots._value + 2
    async with asyncio.TaskGroup() as group:
        hanging = [group.create_task(launcher.start(request("sleep", "60"))) for _ in range(many)]
        await eventually(lambda: sum(line == "sleep 60" for line in marked.alive().values()) == many)
        for task in hanging:
            task.cancel()
    assert not marked.alive()


@pytest.mark.parametrize("losses", [1, 3])
async def test_a_port_that_somebody_took_first(
    launcher: ProcessLauncher, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        real = launcher._ports.take
        # Every start takes two ports, the second is the application's.
        answers = iter([port for _ in range(losses) for port in (real(), taken)])
        monkeypatch.setattr(launcher._ports, "take", lambda: next(answers, None) or real())
        if losses == process.PORT_ATTEMPTS:
            with pytest.raises(LaunchError, match=r"ended with exit code 1 before it was ready") as caught:
                await launcher.start(request())
            assert "Address already in use" in caught.value.log
        else:
            running = await launcher.start(request())
            assert (await get(running, "/health")).status == 200
            await launcher.stop(running)


async def test_what_is_in_flight_is_finished(launcher: ProcessLauncher, folder: Path) -> None:
    running = await launcher.start(request())
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(get(running, "/slow/0.3"))
        log = folder / running.handle["id"] / pair.LOG
        await eventually(lambda: "GET /slow/0.3 HTTP/1.1" in log.read_text())
        group.create_task(launcher.stop(running))
    assert slow.result().status == 200


async def test_a_death_is_told_and_takes_the_other_half_along(launcher: ProcessLauncher, marked: Marked) -> None:
    running = await launcher.start(request())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(launcher.wait(running))
        answer = await get(running, "/exit/7")
    assert (answer.status, answer.headers["skycap-error"]) == (502, "upstream-reset")
    error = waiting.result()
    assert str(error) == f"`{PYTHON} {APP} baseline` ended with exit code 7"
    assert "leaving with 7" in error.log
    await eventually(lambda: not marked.alive())
    assert "leaving with 7" in await launcher.log(running, 50)
    await launcher.stop(running)
    assert await launcher.log(running, 50) == ""


async def test_the_death_of_the_sidecar_is_one_of_the_shadow(launcher: ProcessLauncher, marked: Marked) -> None:
    running = await launcher.start(request())
    os.kill(running.handle["sidecar"]["pid"], signal.SIGKILL)
    error = await launcher.wait(running)
    assert str(error) == f"the sidecar of `{PYTHON} {APP} baseline` was ended by SIGKILL"
    assert not marked.alive()


async def test_one_that_is_stopped_has_not_died_by_itself(launcher: ProcessLauncher) -> None:
    running = await launcher.start(request())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(launcher.wait(running))
        await launcher.stop(running)
        assert not waiting.done()
        waiting.cancel()


async def test_what_it_wrote_in_a_window_of_time(launcher: ProcessLauncher) -> None:
    running = await launcher.start(request())
    before = time.time()
    assert (await get(running, "/health")).status == 200
    assert "GET /health" in await launcher.log(running, 10)
    assert "GET /health" in await launcher.log(running, 10, Window(before, before + 60))
    assert await launcher.log(running, 10, Window(before + 60)) == ""
    await launcher.stop(running)


async def test_a_program_that_clears_its_environment_and_leaves_is_ended_with_its_shadow(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    """As `env -i setsid prog &`: neither its parent nor its group nor its environment leads to it."""
    note = tmp_path / "escaped"
    script = (
        f"(env -i setsid sh -c 'echo $$ >{note}; exec sleep 300' </dev/null >/dev/null 2>&1 &) ; exec {PYTHON} {APP} x"
    )
    running = await launcher.start(request("sh", "-c", script))
    await eventually(lambda: note.exists() and note.read_text().strip())
    escaped = int(note.read_text())
    assert identify(escaped) is not None
    await launcher.stop(running)
    assert identify(escaped) is None


async def test_its_limits_are_those_of_its_group_which_goes_with_it(folder: Path, marked: Marked) -> None:
    groups = control_groups(Limits(memory=1 << 30, cpus=1.5), folder)
    limited = ProcessLauncher(folder, marked.environ, groups=groups)
    running = await limited.start(request())
    listed = await asyncio.to_thread(Path(f"/proc/{running.handle['app']['pid']}/cgroup").read_text)
    assert (running.handle["id"] in listed) is not bool(groups.why_not), groups.why_not
    places = [place / running.handle["id"] for place, _ in groups._places]
    assert all(map(os.path.exists, places))
    await limited.stop(running)
    assert not any(map(os.path.exists, places))
    groups.close()


REGISTRY = """
import asyncio, json, os, sys
from pathlib import Path
from controlplane.launch.process import ProcessLauncher
from tests.controlplane.launch.test_process import request

async def main():
    running = await ProcessLauncher(Path(sys.argv[1])).start(request(*sys.argv[2:]))
    print(json.dumps([running.endpoints, running.handle]), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def killed_registry(folder: Path, marked: Marked, *command: str) -> Running:
    """A shadow started by a process that was killed when it was ready."""
    registry = await asyncio.create_subprocess_exec(
        PYTHON, "-c", REGISTRY, str(folder), *command, env=marked.environ, stdout=asyncio.subprocess.PIPE
    )
    assert registry.stdout is not None
    endpoints, handle = json.loads(await registry.stdout.readline())
    registry.kill()
    await registry.wait()
    return Running(tuple(endpoints), handle)


async def test_it_survives_the_registry_and_is_found_again(
    launcher: ProcessLauncher, folder: Path, marked: Marked
) -> None:
    before = await killed_registry(folder, marked)
    assert (await get(before, "/who")).status == 200
    running = await launcher.adopt(request(), before.handle)
    assert running == before
    assert await launcher.sweep() == 0
    assert await launcher.log(running, 100) != ""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(launcher.wait(running))
        os.kill(running.handle["app"]["pid"], signal.SIGKILL)
    assert str(waiting.result()) == f"`{PYTHON} {APP} baseline` ended"
    assert not marked.alive()
    assert await launcher.adopt(request(), before.handle) is None


async def test_found_again_it_can_be_stopped(launcher: ProcessLauncher, folder: Path, marked: Marked) -> None:
    before = await killed_registry(folder, marked)
    running = await launcher.adopt(request(), before.handle)
    assert running is not None
    assert await launcher.adopt(request(), before.handle) == running
    await launcher.stop(running)
    assert not marked.alive()
    assert content(folder) == []


async def test_half_a_shadow_is_none(launcher: ProcessLauncher, folder: Path, marked: Marked) -> None:
    before = await killed_registry(folder, marked)
    identity = decode_identity(before.handle["sidecar"])
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    await eventually(lambda: not identity.alive())
    assert await launcher.adopt(request(), before.handle) is None
    assert not marked.alive()
    assert content(folder) == []


async def test_a_handle_that_makes_no_sense(launcher: ProcessLauncher, tmp_path: Path) -> None:
    good = {
        "id": "a.shop.users.r1.abc",
        "ports": [1, 2],
        "app": {"pid": 999_999_999, "started": "x"},
        "sidecar": {"pid": 999_999_998, "started": "x"},
    }
    (tmp_path / "precious").mkdir()
    wrong: list[dict[str, object]] = [
        {"id": "../precious"},
        {"id": ""},
        {"id": 7},
        {"ports": [1]},
        {"ports": ["1", 2]},
        {"ports": None},
        {"app": {}},
    ]
    for bad in wrong:
        assert await launcher.adopt(request(), {**good, **bad}) is None
    assert (tmp_path / "precious").exists()
    assert await launcher.adopt(request(), good) is None
    assert str(await launcher.wait(Running((), {}))) == "it is gone, and so is every trace of it"
    await launcher.stop(Running((), {}))


async def test_what_a_killed_registry_had_half_started_is_swept(
    launcher: ProcessLauncher, folder: Path, marked: Marked
) -> None:
    kept = await launcher.start(request(name="kept"))
    registry = await asyncio.create_subprocess_exec(
        PYTHON, "-c", REGISTRY, str(folder), "sleep", "60", env=marked.environ, stdout=asyncio.subprocess.PIPE
    )
    await eventually(lambda: any("sleep 60" in line for line in marked.alive().values()))
    await eventually(
        lambda: any(record.get("sidecar") for record in pair.read_records(folder) if "agent" in record["id"])
    )
    registry.kill()
    await registry.wait()
    (folder / "damaged").mkdir()
    (folder / "damaged" / pair.RECORD).write_text("{")
    assert await launcher.sweep() == 1
    assert content(folder) == [kept.handle["id"]]
    assert set(marked.alive()) > {kept.handle["app"]["pid"], kept.handle["sidecar"]["pid"]}
    assert len(marked.alive()) == 3
    await launcher.stop(kept)
