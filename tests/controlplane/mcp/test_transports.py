"""`skycap mcp` as people run it: the official client over standard input and output, and over HTTP with a token."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from proxy.base.programs import program
from tests.controlplane.mcp.conftest import Agent, connected
from tests.controlplane.running import RegistryProcess, environment, start
from tests.controlplane.sandboxes import fork

SKYCAP = (*program("controlplane/cli")[1:], "mcp")
SAID = b"skycap mcp listens on "


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryProcess]:
    state = str(tmp_path / "shadows")
    process = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory", "--state-dir", state)
    yield process
    await process.end()


class HttpServer:
    """`skycap mcp --http`. url and token_file: as it says them."""

    def __init__(self, process: Process, url: str, token_file: str) -> None:
        self.process = process
        self.url = url
        self.token_file = Path(token_file)

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    async def end(self) -> tuple[int, str]:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


async def serve(environ: Mapping[str, str], *arguments: str) -> HttpServer:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *SKYCAP, "--http", "127.0.0.1:0", *arguments, stdout=PIPE, stderr=PIPE, env=dict(environ)
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.startswith(SAID), (line, await process.communicate())
    named = "--http-token-file" in arguments
    told = b"" if named else await process.stdout.readline()
    return HttpServer(process, line.removeprefix(SAID).decode().strip(), told.decode().rpartition(" ")[2].strip())


@asynccontextmanager
async def over_http(url: str, token: str) -> AsyncIterator[Agent]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        connected(Client(streamable_http_client(url, http_client=http))) as agent,
    ):
        yield agent


@asynccontextmanager
async def over(transport: str, registry: RegistryProcess) -> AsyncIterator[Agent]:
    """An agent of this registry's own, by either transport."""
    environ = {**registry.environ, "SKYCAP_REGISTRY": registry.url}
    if transport == "stdio":
        server = StdioServerParameters(command=sys.executable, args=list(SKYCAP), env=environ)
        async with connected(Client(server)) as agent:
            yield agent
        return
    http = await serve(environ)
    try:
        async with over_http(http.url, http.token) as agent:
            yield agent
    finally:
        code, said = await http.end()
        assert (code, "Traceback" in said) == (0, False), said


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_sandbox_from_its_beginning_to_its_end(registry: RegistryProcess, transport: str) -> None:
    async with over(transport, registry) as agent:
        listed = {tool.name for tool in (await agent.client.list_tools()).tools}
        assert {"list_workloads", "apply_sandbox", "send_request", "get_feedback"} <= listed
        told = await agent.refused("apply_sandbox", name="a", forks=[fork(port=1)], wait_seconds=1)
        assert told["code"] == "not-ready"
        assert agent.progress
        assert (await agent.call("list_sandboxes"))["total"] == 1
        assert (await agent.call("get_feedback", name="a"))["feedback"]["verdict"] == "not-ready"
        assert (await agent.call("delete_sandbox", name="a"))["gone"] is True
        assert (await agent.refused("get_sandbox", name="a"))["code"] == "not-found"


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic YTpi"])
async def test_nobody_without_the_token(registry: RegistryProcess, given: str) -> None:
    http = await serve({**registry.environ, "SKYCAP_REGISTRY": registry.url})
    try:
        headers = {"authorization": given} if given else {}
        async with aiohttp.ClientSession() as session, session.post(http.url, json={}, headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Bearer ")
    finally:
        await http.end()


async def test_no_page_of_a_stranger_reaches_it(registry: RegistryProcess) -> None:
    http = await serve({**registry.environ, "SKYCAP_REGISTRY": registry.url})
    try:
        for field, value in (("origin", "http://evil.example"), ("host", "evil.example:80")):
            headers = {
                "authorization": f"Bearer {http.token}",
                field: value,
                "accept": "application/json, text/event-stream",
            }
            async with aiohttp.ClientSession() as session, session.post(http.url, json={}, headers=headers) as answer:
                assert answer.status in (403, 421), await answer.text()
    finally:
        await http.end()


async def test_the_token_is_its_owners_and_gone_with_the_server(registry: RegistryProcess) -> None:
    http = await serve({**registry.environ, "SKYCAP_REGISTRY": registry.url})
    assert _seen(http.token_file) == (0o600, ["user"])
    assert (await http.end())[0] == 0
    assert _seen(http.token_file) == (0, [])


def _seen(file: Path) -> tuple[int, list[str]]:
    """Who may read it, and what is beside it; (0, []) when it is gone."""
    if not file.exists():
        return 0, []
    return file.stat().st_mode & 0o777, sorted(path.name for path in file.parent.iterdir())


async def test_a_token_of_ones_own(registry: RegistryProcess, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery-staple\n")
    file.chmod(0o600)
    http = await serve({**registry.environ, "SKYCAP_REGISTRY": registry.url}, "--http-token-file", str(file))
    try:
        async with over_http(http.url, "correct-horse-battery-staple") as agent:
            assert (await agent.call("list_sandboxes"))["total"] == 0
    finally:
        await http.end()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--http", "0.0.0.0:0"), "other machines reach it, so --http-token-file is needed"),
        (("--http", "nowhere"), "'nowhere' is not HOST:PORT"),
        (("--http", "192.0.2.1:1"), "--http-token-file is needed"),
        (("--http-token-file", "/nowhere"), "/nowhere"),
    ],
)
async def test_what_cannot_be_served_is_said_in_a_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *SKYCAP, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(tmp_path)
    )
    out, wrong = await process.communicate(b"")
    assert (process.returncode, out) == (2, b"")
    assert said in wrong.decode()
    assert len(wrong.decode().splitlines()) == 1


async def test_a_port_that_is_taken(registry: RegistryProcess, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *SKYCAP,
        "--http",
        f"127.0.0.1:{registry.port}",
        stdout=PIPE,
        stderr=PIPE,
        env=environment(tmp_path),
    )
    _, wrong = await process.communicate()
    assert process.returncode == 2
    assert "cannot listen there" in wrong.decode()


async def test_it_ends_with_its_client(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *SKYCAP,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(tmp_path) | {"PATH": os.environ["PATH"]},
    )
    out, wrong = await process.communicate(b"")
    assert (process.returncode, out, wrong) == (0, b"", b"")
