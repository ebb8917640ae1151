from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from controlplane.launch import static
from controlplane.launch.port import Launcher, LaunchError, LaunchRequest
from controlplane.launch.static import Rules, StaticLauncher
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.process.ports import PortPool

NETWORKS = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


def request(*endpoints: str, **fields: Any) -> LaunchRequest:
    return LaunchRequest("agent-42", "agent-42", 1, Fork(workload="shop/users", endpoints=endpoints, **fields))


@contextmanager
def listening(port: int = 0) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", port)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def nowhere() -> str:
    return f"127.0.0.1:{PortPool().take()}"


async def test_the_endpoints_are_those_that_were_given() -> None:
    launcher: Launcher = StaticLauncher()
    with listening() as endpoint:
        asked = request(endpoint, "[::1]:9")
        running = await launcher.start(asked)
        assert running.endpoints == (endpoint, "[::1]:9")
        assert await launcher.adopt(asked, running.handle) == running
        assert await launcher.log(running, 10) == ""
        await launcher.stop(running)
        await launcher.stop(running)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("10.1.2.3:80", None),
        ("[fd00::1]:80", None),
        ("[::ffff:10.1.2.3]:80", None),
        ("10.2.0.1:80", "'10.2.0.1:80' is outside the allowed networks: 10.1.0.0/16, fd00::/8"),
        ("[::1]:80", "'[::1]:80' is outside the allowed networks: 10.1.0.0/16, fd00::/8"),
        ("db.internal:80", "'db.internal:80' is a name; endpoints are limited to addresses in 10.1.0.0/16, fd00::/8"),
    ],
)
async def test_endpoints_can_be_limited_to_networks(endpoint: str, why: str | None) -> None:
    launcher = StaticLauncher(Rules(NETWORKS))
    asked = request("10.1.0.1:80", endpoint, reachable=False)
    expected = [] if why is None else [FieldProblem(path="endpoints[1]", message=why)]
    assert launcher.check(asked.fork, None) == expected
    if why is None:
        running = await launcher.start(asked)
        assert await launcher.adopt(asked, running.handle) == running
    else:
        with pytest.raises(LaunchError) as caught:
            await launcher.start(asked)
        assert str(caught.value) == f"endpoints[1]: {why}"
        assert await launcher.adopt(asked, {}) is None  # the networks have become others since it was stored


@pytest.mark.parametrize(
    ("own", "endpoint"),
    [
        ("127.0.0.1", "127.0.0.1:7070"),
        ("127.0.0.1", "[::ffff:127.0.0.1]:7070"),
        ("127.0.0.1", "[64:ff9b::7f00:1]:7070"),
        ("127.0.0.1", "localhost:7070"),
        ("127.0.0.1", "LOCALHOST.:7070"),
        ("::1", "[::1]:7070"),
        ("0.0.0.0", "127.0.0.1:7070"),
        ("0.0.0.0", "127.1.2.3:7070"),
        ("::", "[::1]:7070"),
    ],
)
def test_no_endpoint_is_the_registry_itself(own: str, endpoint: str) -> None:
    launcher = StaticLauncher(Rules(own=[(own, 7070)]))
    (problem,) = launcher.check(request(endpoint).fork, None)
    assert problem.message.endswith("is the registry itself")
    assert launcher.check(request(endpoint.replace("7070", "7071")).fork, None) == []


def test_no_endpoint_is_the_registry_at_another_address_of_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: tells the address that would be used
        ours = probe.getsockname()[0]
    wild, exact = Rules(own=[("0.0.0.0", 7070)]), Rules(own=[("127.0.0.1", 7070)])
    assert [problem.path for problem in static.check(request(f"{ours}:7070").fork, wild)] == ["endpoints[0]"]
    assert static.check(request(f"{ours}:7070").fork, exact) == []
    assert static.check(request("192.0.2.1:7070").fork, wild) == []


async def test_one_endpoint_that_accepts_is_enough() -> None:
    with listening() as endpoint:
        running = await StaticLauncher().start(request(nowhere(), endpoint))
    assert len(running.endpoints) == 2


async def test_an_endpoint_that_comes_later_is_waited_for() -> None:
    port = PortPool().take()
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(StaticLauncher(start_seconds=30.0).start(request(f"127.0.0.1:{port}")))
        await asyncio.sleep(0)  # it has dialled once
        with listening(port):
            await starting


async def test_endpoints_that_nobody_accepts_at_are_tried_again_by_itself() -> None:
    first, second = nowhere(), nowhere()
    with pytest.raises(LaunchError) as caught:
        await StaticLauncher(start_seconds=0.05).start(request(first, second))
    assert str(caught.value) == f"nothing accepts connections at {first}, {second}"
    assert caught.value.again


async def test_what_the_control_plane_cannot_reach_is_not_dialled() -> None:
    launcher = StaticLauncher(start_seconds=0.05)
    running = await launcher.start(request(nowhere(), reachable=False))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(launcher.wait(running), 0.01)
    assert repr(launcher) == "<StaticLauncher 0 watched>"


async def test_one_that_accepts_no_more_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "LOOK_SECONDS", 0.01)
    launcher = StaticLauncher()
    with listening() as endpoint:
        running = await launcher.start(request(endpoint))
        async with asyncio.TaskGroup() as group:
            death = group.create_task(launcher.wait(running))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(death), 0.1)
            death.cancel()
    death_now = await asyncio.wait_for(launcher.wait(running), 10)
    assert str(death_now) == f"nothing accepts connections at {endpoint} any more"
    assert death_now.again


@pytest.mark.parametrize(
    ("leads_to", "why"),
    [
        ("169.254.169.254", "which is link-local, where no shadow may be"),
        ("::ffff:169.254.169.254", "which is link-local, where no shadow may be"),
        ("127.0.0.1", "which is the registry itself"),
        ("0.0.0.0", "which means whichever machine asks: name one address"),
    ],
)
async def test_every_address_of_a_name_is_judged_before_one_is_dialled(
    monkeypatch: pytest.MonkeyPatch, leads_to: str, why: str
) -> None:
    loop = asyncio.get_running_loop()
    with listening() as endpoint:
        port = int(endpoint.rpartition(":")[2])
        names = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
            (socket.AF_INET6 if ":" in leads_to else socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to, port)),
        ]

        async def found(*_: object, **__: object) -> list[Any]:
            return names

        monkeypatch.setattr(loop, "getaddrinfo", found, raising=False)
        launcher = StaticLauncher(Rules(own=[("127.0.0.1", port)]), start_seconds=0.05)
        with pytest.raises(LaunchError) as caught:
            await launcher.start(request(f"rebound.example:{port}"))
    assert str(caught.value) == f"'rebound.example:{port}' leads to {leads_to}, {why}"
