"""The token that requests to the API server carry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controlplane.kubernetes import client
from controlplane.kubernetes.client import Kubernetes, KubernetesError
from controlplane.kubernetes.credentials import Credentials


class Tokens:
    """Gives the first token until it is renewed; an API server that takes what `valid` says."""

    def __init__(self) -> None:
        self.current = "first"
        self.valid = {"first", "second"}
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        return self.current

    async def answer(self, request: web.Request) -> web.Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token not in self.valid:
            return web.json_response({"message": "Unauthorized", "code": 401}, status=401)
        return web.json_response({"token": token})


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
async def kubernetes(tokens: Tokens) -> AsyncIterator[Kubernetes]:
    app = web.Application()
    app.router.add_get("/version", tokens.answer)
    async with TestServer(app) as server:
        made = Kubernetes(Credentials(str(server.make_url("")).rstrip("/"), None, tokens))
        yield made
        await made.close()


async def used(kubernetes: Kubernetes) -> str:
    return str((await kubernetes.get("/version"))["token"])


async def test_requests_at_once_do_not_each_wait_for_a_thread_that_reads_it(
    kubernetes: Kubernetes, tokens: Tokens
) -> None:
    assert set(await asyncio.gather(*(used(kubernetes) for _ in range(100)))) == {"first"}
    assert tokens.given == 1


async def test_one_that_was_renewed_is_taken_in_time(
    kubernetes: Kubernetes, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TOKEN_SECONDS", 0.0)
    assert await used(kubernetes) == "first"
    tokens.current = "second"
    assert await used(kubernetes) == "second"


async def test_one_that_is_refused_is_not_kept(kubernetes: Kubernetes, tokens: Tokens) -> None:
    assert await used(kubernetes) == "first"
    tokens.current, tokens.valid = "second", {"second"}
    with pytest.raises(KubernetesError, match="Unauthorized"):
        await used(kubernetes)
    assert await used(kubernetes) == "second"
