"""Hops over HTTP: told by sidecars, read in pages, followed, and drawn as a tree."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from controlplane.client import RegistryError
from controlplane.model.hop import HopRecord
from proxy.base.tasks import Tasks
from proxy.contract.hops import HOPS_TYPE, INBOUND, MAX_BATCH_BYTES, OUTBOUND, Captured, Hop, encode_hop
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import sandbox as document

KEY = "agent-42"


def hop(number: int, **fields: Any) -> Hop:
    fields = {"workload": "shop/users", "side": INBOUND, "status": 200, "time": float(number), **fields}
    return Hop(id=f"{number:016x}", key=KEY, **fields)


async def tell(api: Served, *hops: Hop) -> None:
    status, body, _ = await api.ask(
        "POST", "/v1/hops", data=b"".join(map(encode_hop, hops)), headers={"content-type": HOPS_TYPE}
    )
    assert (status, body) == (204, None)


@pytest.fixture
async def sandbox(api: Served) -> str:
    await api.client.apply(document(KEY))
    return KEY


async def test_pages_go_from_the_newest_back(api: Served, sandbox: str) -> None:
    await tell(api, *(hop(number) for number in range(1, 8)))
    page = await api.client.traffic(sandbox, limit=3)
    assert [item.position for item in page.items] == [7, 6, 5]
    page = await api.client.traffic(sandbox, limit=5, before=page.before)
    assert [item.position for item in page.items] == [4, 3, 2, 1]
    assert page.before is None


async def test_a_filter_that_matches_little_leads_on(api: Served, sandbox: str) -> None:
    await tell(api, hop(1, status=500), *(hop(number) for number in range(2, 400)))
    await tell(api, *(hop(number) for number in range(400, 800)))
    await tell(api, *(hop(number) for number in range(800, 1200)))
    page = await api.client.traffic(sandbox, {"status": "5xx"})
    assert page.items == ()
    page = await api.client.traffic(sandbox, {"status": "5xx"}, before=page.before)
    assert [item.status for item in page.items] == [500]
    assert page.before is None


async def test_everything_that_was_captured_comes_back(api: Served, sandbox: str) -> None:
    sent = hop(
        1, status=500, method="POST", path="/x", parent="f" * 16, sandbox=KEY, revision=3, decision="shadow",
        response=Captured(headers=(("content-type", "text/plain"),), body="no such user", length=12),
    )  # fmt: skip
    await tell(api, sent)
    (item,) = (await api.client.traffic(sandbox)).items
    assert item.response is not None
    assert (item.response.body, item.response.headers) == ("no such user", (("content-type", "text/plain"),))
    assert (item.parent, item.sandbox, item.revision, item.decision) == ("f" * 16, KEY, 3, "shadow")


async def test_hops_of_strangers_and_lines_that_are_none_are_counted_and_dropped(api: Served, sandbox: str) -> None:
    other = Hop("0" * 16, "nobody", "shop/users", INBOUND)
    batch = encode_hop(hop(1)) + encode_hop(other) + b"{}\nnonsense\n" + encode_hop(hop(2))
    status, _, _ = await api.ask("POST", "/v1/hops", data=batch, headers={"content-type": HOPS_TYPE})
    assert status == 204
    assert len((await api.client.traffic(sandbox)).items) == 2
    assert repr(api.registry.intake) == "<Intake kept=2 strange=1 malformed=2>"


@pytest.mark.parametrize(
    ("content_type", "size", "status", "code"),
    [("application/json", 2, 415, "not-ndjson"), (HOPS_TYPE, MAX_BATCH_BYTES + 1, 413, "body-too-large")],
)
async def test_a_batch_that_is_refused(api: Served, content_type: str, size: int, status: int, code: str) -> None:
    body = io.BytesIO(b"x" * size)
    answer, problem, _ = await api.ask("POST", "/v1/hops", data=body, headers={"content-type": content_type})
    assert (answer, problem["code"]) == (status, code)


async def test_a_trace_is_a_tree(api: Served, sandbox: str) -> None:
    await tell(
        api,
        hop(3, workload="shop/pay", trace="t", parent=f"{2:016x}", status=402),
        hop(1, workload="shop/front", trace="t", status=500),
        hop(2, workload="shop/front", side=OUTBOUND, trace="t", parent=f"{1:016x}", status=402),
        hop(4, trace="other"),
        hop(5, trace="t", parent="e" * 16),
    )
    trace = await api.client.trace("t")
    assert trace.sandbox == KEY
    assert [(item.depth, item.workload, item.side, item.detached) for item in trace.hops] == [
        (0, "shop/front", "inbound", False),
        (1, "shop/front", "outbound", False),
        (2, "shop/pay", "inbound", False),
        (0, "shop/users", "inbound", True),
    ]


async def test_a_trace_that_nobody_knows(api: Served, sandbox: str) -> None:
    with pytest.raises(RegistryError) as refused:
        await api.client.trace("unknown")
    assert (refused.value.status, refused.value.code) == (404, "not-found")
    with pytest.raises(RegistryError, match="for sandbox 'agent-42'"):
        await api.client.trace("unknown", sandbox)


async def test_following_shows_what_comes_and_ends_with_the_sandbox(api: Served, sandbox: str) -> None:
    await tell(api, hop(1), hop(2))
    seen: list[HopRecord] = []
    caught_up = asyncio.Event()

    async def follow() -> None:
        async for item in api.client.follow_traffic(sandbox, {"status": "2xx"}, after=1):
            seen.append(item)
            caught_up.set()

    tasks = Tasks("followers")
    following = tasks.begin(follow(), "follow")
    await caught_up.wait()
    caught_up.clear()
    await tell(api, hop(3, status=404), hop(4))
    await caught_up.wait()
    await api.client.delete(sandbox)
    await following
    assert [item.position for item in seen] == [2, 4]


async def test_the_hops_of_a_sandbox_are_forgotten_with_it(api: Served, sandbox: str) -> None:
    await tell(api, hop(1))
    await api.client.delete(sandbox, 10)
    await api.client.apply(document(KEY))
    assert (await api.client.traffic(sandbox)).items == ()


@pytest.mark.parametrize("query", ["status=5", "limit=0", "limit=1001", "side=top", "since=now", "colour=red"])
async def test_a_query_that_is_malformed_names_its_parameter(api: Served, sandbox: str, query: str) -> None:
    status, problem, _ = await api.ask("GET", f"/v1/sandboxes/{sandbox}/traffic?{query}")
    assert (status, problem["problems"][0]["path"]) == (400, f"?{query.partition('=')[0]}")


async def test_followers_do_not_keep_the_registry_from_ending(api: Served, sandbox: str) -> None:
    tasks = Tasks("followers")

    async def follow() -> list[HopRecord]:
        return [item async for item in api.client.follow_traffic(sandbox, after=0)]

    following = tasks.begin(follow(), "follow")
    await asyncio.wait({following}, timeout=0.05)
    await api.registry.hops.close()
    assert await following == []
