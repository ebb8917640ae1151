from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.client import Client, RegistryError
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
