from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from controlplane import connection
from controlplane.model.sidecar import SidecarReport
from controlplane.model.workload import Workload
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import USERS, fork, sandbox

COUNT = 130


async def many(api: Served) -> list[str]:
    names = [f"s{number:03}" for number in range(COUNT)]
    await asyncio.gather(*(api.client.apply(sandbox(name, fork(reachable=False))) for name in names))
    return names


async def page(api: Served, query: str = "", path: str = "/v1/sandboxes") -> tuple[list[str], str | None]:
    status, body, _ = await api.ask("GET", f"{path}{query}")
    assert status == 200
    return [one["metadata"]["name"] for one in body["items"]], body.get("continue")


async def test_page_after_page_is_the_whole_list(api: Served) -> None:
    names = await many(api)
    found: list[str] = []
    token: str | None = ""
    sizes = []
    while token is not None:
        some, token = await page(api, f"?limit=40&continue={token}" if token else "?limit=40")
        found += some
        sizes.append(len(some))
    assert (found, sizes) == (names, [40, 40, 40, 10])


async def test_without_a_limit_all_of_them_come_in_pieces_and_others_are_answered(api: Served) -> None:
    names = await many(api)
    async with api.http.get(f"{api.url}/v1/sandboxes") as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        text = await answer.text()
    assert [one["metadata"]["name"] for one in json.loads(text)["items"]] == names
    assert await page(api) == (names, None)


async def test_what_happens_between_two_pages_repeats_nothing_and_loses_nothing(api: Served) -> None:
    names = await many(api)
    first, token = await page(api, "?limit=50")
    await api.client.delete(first[-1], 10)  # the item that the token names
    await api.client.apply(sandbox("s000a", fork(reachable=False)))
    rest, end = await page(api, f"?limit=200&continue={token}")
    assert (first + rest, end) == (names, None)


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=x", "?limit=10000", "?continue=", "?continue=_w", "?continue=a b"]
)
async def test_what_is_no_page(api: Served, query: str) -> None:
    status, problem, _ = await api.ask("GET", f"/v1/sandboxes{query}")
    assert (status, problem["code"]) == (400, "bad-query")


async def test_an_empty_list_and_the_last_page(api: Served) -> None:
    assert await page(api, "?limit=1") == ([], None)
    await api.client.apply(sandbox("a"))
    assert await page(api, "?limit=1") == (["a"], None)
    assert await page(api, "?continue=eno") == ([], None)


async def test_the_other_lists_have_pages_too(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await api.client.put_workload(Workload(workload=f"shop/w{number}", address="127.0.0.1:1"))
        await api.client.report(f"sidecar-{number}", SidecarReport(workload=USERS, applied_revision=0))
    for path in ("/v1/workloads", "/v1/sidecars"):
        _, body, _ = await api.ask("GET", f"{path}?limit=2")
        assert len(body["items"]) == 2
        _, rest, _ = await api.ask("GET", f"{path}?limit=2&continue={body['continue']}")
        assert len(rest["items"]) == 1
        assert "continue" not in rest
    monkeypatch.setattr(connection, "PAGE", 2)
    assert [one.workload for one in await api.client.workloads()] == ["shop/w0", "shop/w1", "shop/w2"]
    assert [one.id for one in await api.client.sidecars()] == ["sidecar-0", "sidecar-1", "sidecar-2"]


async def test_head_of_a_long_list(api: Served) -> None:
    await many(api)
    async with api.http.head(f"{api.url}/v1/sandboxes") as answer:
        assert answer.status == 200


async def test_a_list_that_cannot_be_finished_does_not_look_whole(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    names = await many(api)
    monkeypatch.setattr(api.registry.sandboxes, "finder", lambda: lambda name: {}[name] if name == names[-1] else None)
    with pytest.raises(aiohttp.ClientError):
        async with api.http.get(f"{api.url}/v1/sandboxes") as answer:
            await answer.text()
