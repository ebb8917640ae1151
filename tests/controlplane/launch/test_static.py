from __future__ import annotations

import asyncio

import pytest

from controlplane.launch.port import Launcher, LaunchError, LaunchRequest, Running
from controlplane.launch.static import StaticLauncher
from controlplane.process.ports import PortPool


def request(*endpoints: str) -> LaunchRequest:
    return LaunchRequest("agent-42", "agent-42", "shop/users", 1, endpoints=endpoints)


async def test_the_endpoints_are_those_that_were_given() -> None:
    launcher: Launcher = StaticLauncher()
    running = await launcher.start(request("127.0.0.1:9102", "[::1]:9102"))
    assert running.endpoints == ("127.0.0.1:9102", "[::1]:9102")
    assert await launcher.adopt(request("127.0.0.1:9102", "[::1]:9102"), running.handle) == running
    assert launcher.log(running, 10) == ""
    await launcher.stop(running)
    await launcher.stop(running)


async def test_a_fork_without_endpoints() -> None:
    launcher = StaticLauncher()
    with pytest.raises(LaunchError, match=r"the fork of shop/users names no endpoints"):
        await launcher.start(request())
    assert await launcher.adopt(request(), {}) is None


async def test_an_endpoint_that_makes_no_sense() -> None:
    with pytest.raises(LaunchError, match=r"'nowhere' is not HOST:PORT"):
        await StaticLauncher().start(request("nowhere"))


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
