from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from controlplane.launch.port import Launcher, LaunchError, LaunchRequest, Running
from controlplane.launch.static import StaticLauncher
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.process.ports import PortPool


def request(*endpoints: str) -> LaunchRequest:
    return LaunchRequest("agent-42", "agent-42", 1, Fork(workload="shop/users", endpoints=endpoints))


async def test_the_endpoints_are_those_that_were_given() -> None:
    launcher: Launcher = StaticLauncher()
    running = await launcher.start(request("127.0.0.1:9102", "[::1]:9102"))
    assert running.endpoints == ("127.0.0.1:9102", "[::1]:9102")
    assert await launcher.adopt(request("127.0.0.1:9102", "[::1]:9102"), running.handle) == running
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
    launcher = StaticLauncher(networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    asked = request("10.1.0.1:80", endpoint)
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


async def test_one_endpoint_that_accepts_is_enough() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dead = PortPool().take()
        running = await StaticLauncher(10.0).start(request(f"127.0.0.1:{dead}", f"127.0.0.1:{port}"))
    assert len(running.endpoints) == 2


async def test_an_endpoint_that_comes_later_is_waited_for() -> None:
    port = PortPool().take()
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(StaticLauncher(30.0).start(request(f"127.0.0.1:{port}")))
        await asyncio.sleep(0)  # it has dialled once
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
        await starting
    server.close()
    await server.wait_closed()


async def test_endpoints_that_nobody_accepts_at() -> None:
    first, second = PortPool().take(), PortPool().take()
    with pytest.raises(LaunchError) as caught:
        await StaticLauncher(0.05).start(request(f"127.0.0.1:{first}", f"127.0.0.1:{second}"))
    assert str(caught.value) == f"nothing accepts connections at 127.0.0.1:{first}, 127.0.0.1:{second}"


async def test_it_never_dies() -> None:
    waiting = StaticLauncher().wait(Running(("127.0.0.1:9102",), {}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.01)
