"""One sidecar between two plain HTTP servers, and the clients that people have."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import requests
from aiohttp import web

from tests import tools
from tests.acceptance.running import free_port, naming, serving, sidecar

NAME = web.AppKey("name", str)
KEYED = {"baggage": "routing-key=agent-42"}


@pytest_asyncio.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A sidecar of shop/users: baseline without a key, shadow for agent-42."""
    async with serving(naming("baseline")) as app, serving(naming("shadow")) as shadow:
        routes = tmp_path / "routes.yaml"
        routes.write_text(f"routes:\n- {{workload: shop/users, key: agent-42, endpoints: ['127.0.0.1:{shadow}']}}\n")
        port = free_port()
        inbound = f"127.0.0.1:{port}=127.0.0.1:{app}"
        async with sidecar(
            "--workload", "shop/users", "--inbound", inbound, "--routes", str(routes), port=port
        ):  # fmt: skip
            yield f"http://127.0.0.1:{port}"


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_curl(url: str) -> None:
    tools.require("curl")
    assert json.loads(await output("curl", "-s", f"{url}/a?b"))["name"] == "baseline"
    answer = await output("curl", "-si", "-H", "baggage: a=b, routing-key=agent-42", f"{url}/a?b")
    assert "skycap-served-by: shop/users;sandbox=agent-42;rev=1" in answer
    assert json.loads(answer.split("\r\n\r\n")[1]) == {"name": "shadow", "path": "/a?b", "size": 0}
    posted = await output("curl", "-s", "-H", "baggage: routing-key=agent-42", "-d", "x" * 5000, url)
    assert json.loads(posted) == {"name": "shadow", "path": "/", "size": 5000}


async def test_wrk(url: str) -> None:
    tools.require("wrk")
    for header in ("x-none: 1", "baggage: routing-key=agent-42"):
        printed = await output("wrk", "-t1", "-c16", "-d1s", "-H", header, f"{url}/")
        assert "Non-2xx" not in printed
        assert "Socket errors" not in printed
        assert "requests in" in printed


async def test_the_standard_library(url: str) -> None:
    def work() -> list[str]:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        names = []
        for headers in ({}, KEYED, {}, KEYED):
            connection.request("GET", "/", headers=headers)
            names.append(json.loads(connection.getresponse().read())["name"])
        connection.close()
        return names

    assert await asyncio.to_thread(work) == ["baseline", "shadow", "baseline", "shadow"]


async def test_requests(url: str) -> None:
    def work() -> list[str]:
        with requests.Session() as session:
            names = [session.get(url, headers=headers, timeout=10).json()["name"] for headers in ({}, KEYED)]
            chunks = iter([b"a" * 10, b"b" * 20])
            uploaded = session.post(url, data=chunks, headers=KEYED, timeout=10).json()
            assert uploaded == {"name": "shadow", "path": "/", "size": 30}
            return names

    assert await asyncio.to_thread(work) == ["baseline", "shadow"]


async def test_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session:

        async def name(headers: dict[str, str]) -> str:
            async with session.get(url, headers=headers) as answer:
                return str((await answer.json())["name"])

        names = await asyncio.gather(*(name(KEYED if number % 2 else {}) for number in range(200)))
    assert names == ["shadow" if number % 2 else "baseline" for number in range(200)]


async def test_fetch_of_node(url: str) -> None:
    tools.require("node")
    script = """
      const ask = async headers => (await (await fetch(process.argv[1], {headers})).json()).name;
      ask({}).then(async first => console.log(first, await ask({baggage: 'undefined,routing-key=agent-42'})));
    """
    assert await output("node", "-e", script, url) == "baseline shadow\n"


@pytest.mark.parametrize(("headers", "name"), [({}, "baseline"), (KEYED, "shadow")])
async def test_a_websocket_echoes(headers: dict[str, str], name: str, tmp_path: Path) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.app[NAME]} {message.data}")
        return socket

    def echoing(called: str) -> web.Application:
        application = web.Application()
        application[NAME] = called
        application.router.add_get("/", echo)
        return application

    async with serving(echoing("baseline")) as app, serving(echoing("shadow")) as shadow:
        routes = tmp_path / "routes.yaml"
        routes.write_text(f"routes:\n- {{workload: a/b, key: agent-42, endpoints: ['127.0.0.1:{shadow}']}}\n")
        port = free_port()
        arguments = ("--workload", "a/b", "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}", "--routes", str(routes))
        async with (
            sidecar(*arguments, port=port),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/", headers=headers) as socket,
        ):
            for number in range(100):
                await socket.send_str(str(number))
                assert (await socket.receive_str()) == f"{name} {number}"
