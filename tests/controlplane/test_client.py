from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from controlplane.client import Client, RegistryError
from proxy.base.access import USER, token_folder
from tests.controlplane.api.served import served
from tests.controlplane.sandboxes import USERS, document, sandbox

Strange = Callable[[str], Awaitable[Client]]


@pytest.fixture
async def strange() -> AsyncIterator[Strange]:
    """Something that answers every request with this text and is no registry."""
    open_: list[TestServer | Client] = []

    async def serve(text: str, status: int = 200) -> Client:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=text, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        client = Client(f"http://127.0.0.1:{server.port}/")
        open_.extend([client, server])
        return client

    yield serve
    for one in open_:
        await one.close()


async def test_nobody_is_there() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Client(url) as client:
            with pytest.raises(RegistryError) as raised:
                await client.sandboxes()
            assert not await client.ready()
            with pytest.raises(RegistryError):
                await anext(client.watch(USERS))
    assert (raised.value.status, raised.value.code) == (0, "registry-unreachable")
    assert str(raised.value).startswith(f"The registry cannot be reached: {url}: ")


async def test_an_answer_that_does_not_come_in_time() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        async with Client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.05) as client:
            with pytest.raises(RegistryError, match="cannot be reached"):
                await client.sandboxes()


@pytest.mark.parametrize("text", ["<html>", "", "[]", "{}", '{"items": 3}', '{"items": [{}]}'])
async def test_somebody_else_answers(strange: Strange, text: str) -> None:
    client = await strange(text)
    with pytest.raises(RegistryError) as raised:
        await client.sandboxes()
    assert raised.value.code == "not-a-registry"


async def test_somebody_else_refuses(strange: Strange) -> None:
    client = await strange("no such page", status=404)  # type: ignore[call-arg]
    with pytest.raises(RegistryError) as raised:
        await client.sandbox("a")
    assert (raised.value.status, raised.value.code) == (404, "not-a-registry")
    assert "no such page" in str(raised.value)


async def test_a_refusal_reads_like_a_list_for_a_person() -> None:
    async with served() as api:
        with pytest.raises(RegistryError) as raised:
            await api.client.apply(document("a", {"workload": "users", "endpoints": ["x"]}))
    assert str(raised.value).splitlines() == [
        "The document does not fit: 2 problems; nothing was stored",
        "  spec.forks[0].workload: 'users' is not NAMESPACE/NAME, each a DNS label",
        "  spec.forks[0].endpoints[0]: 'x' is not HOST:PORT with a port from 1 to 65535",
    ]


@pytest.mark.parametrize("broken", [{}, {"metadata": {}}, {"metadata": []}, {"metadata": {"name": 3}}])
async def test_a_document_without_a_name_is_refused_by_the_registry(broken: dict[str, object]) -> None:
    async with served() as api:
        with pytest.raises(RegistryError) as raised:
            await api.client.apply(broken)
    assert raised.value.status == 422
    assert any(item.path.startswith("metadata") for item in raised.value.problems)


async def test_a_sandbox_goes_there_and_back() -> None:
    async with served() as api:
        sent = sandbox("a", ttl="30m")
        assert (await api.client.apply(sent)).spec.forks == sent.spec.forks
        found = await api.client.wait("a")
        assert (await api.client.apply(found)).spec == found.spec
        assert await api.client.delete("a", seconds=10) is None


async def test_a_registry_that_writes_its_tokens_while_a_request_waits(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if not seen:
            _write_token(server, environ)
        seen.append(request.headers.get("authorization", ""))
        return web.json_response({"items": []}, status=200 if seen[-1] == "Bearer new" else 401)

    application = web.Application()
    application.router.add_get("/v1/sidecars", answer)
    async with TestServer(application) as server:
        async with Client(f"http://127.0.0.1:{server.port}", environ=environ) as client:
            assert await client.sidecars() == []
        assert seen == ["", "Bearer new"]
        async with Client(f"http://127.0.0.1:{server.port}", token="old") as client:
            with pytest.raises(RegistryError):
                await client.sidecars()
        assert seen[2:] == ["Bearer old"], "a token that somebody named is not replaced"


async def test_a_registry_that_writes_its_tokens_while_a_watch_waits(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}

    async def answer(request: web.Request) -> web.Response:
        if "authorization" in request.headers:
            return web.Response(text="id: 1\nevent: put\ndata: {}\n\n", content_type="text/event-stream")
        _write_token(server, environ)
        return web.Response(status=401)

    application = web.Application()
    application.router.add_get("/v1/watch/routes", answer)
    async with TestServer(application) as server, Client(f"http://127.0.0.1:{server.port}", environ=environ) as client:
        assert [event.id async for event in client.watch("shop/users")] == ["1"]


def _write_token(server: BaseTestServer, environ: dict[str, str]) -> None:
    folder = token_folder("127.0.0.1", server.port or 0, environ)
    folder.mkdir(parents=True)
    (folder / USER).write_text("new\n")
    (folder / USER).chmod(0o600)
