"""Feedback over HTTP: the registry's own knowledge as evidence."""

from __future__ import annotations

import time
from typing import Any

import pytest

from controlplane.client import RegistryError
from controlplane.hops.intake import STRANGERS, Intake
from controlplane.hops.memory import MemoryHops
from controlplane.model.assertion import Claim
from controlplane.model.feedback import Kind, Verdict
from proxy.contract.hops import HOPS_TYPE, INBOUND, Captured, Hop, encode_hop
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import sandbox as document

KEY = "agent-42"


def hop(number: int, **fields: Any) -> Hop:
    known = {"key": KEY, "workload": "shop/users", "side": INBOUND, "status": 200, "time": time.time(), **fields}
    return Hop(id=f"{number:016x}", **known)


async def tell(api: Served, *hops: Hop) -> None:
    batch = b"".join(map(encode_hop, hops))
    status, _, _ = await api.ask("POST", "/v1/hops", data=batch, headers={"content-type": HOPS_TYPE})
    assert status == 204


async def test_a_failure_with_its_words_and_the_next_step(api: Served) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    said = Captured(body='{"detail": "no such table: users"}', length=34)
    await tell(api, hop(1, status=500, sandbox=KEY, revision=1, path="/users", method="GET", response=said, trace="t"))
    found = await api.client.feedback(KEY)
    assert (found.verdict, found.failures[0].kind) == (Verdict.FAILING, Kind.ANSWERED)
    assert found.summary == "shop/users (revision 1) answered GET /users with 500: no such table: users"
    assert [action.tool for action in found.next_actions] == ["push_files", "get_trace"]


async def test_what_an_older_revision_did_is_not_held_against_the_new_one(api: Served) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    await tell(api, hop(1, status=500, time=time.time() - 60))
    assert (await api.client.feedback(KEY)).verdict is Verdict.NO_TRAFFIC
    assert (await api.client.feedback(KEY, "2m")).verdict is Verdict.FAILING


async def test_a_browser_that_asks_for_an_icon_is_no_failure(api: Served) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    browser = Captured(headers=(("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0"),))
    await tell(
        api,
        hop(1, sandbox=KEY, revision=1, path="/", method="GET"),
        hop(2, sandbox=KEY, revision=1, path="/favicon.ico", method="GET", status=404, request=browser),
    )
    found = await api.client.feedback(KEY)
    assert (found.verdict, found.routing.requests) == (Verdict.PASSING, 1)
    assert (await api.client.assert_routed(KEY, Claim(workload="shop/users"))).holds
    curl = Captured(headers=(("user-agent", "curl/8.5.0"),))
    await tell(api, hop(3, sandbox=KEY, revision=1, path="/favicon.ico", method="GET", status=404, request=curl))
    assert (await api.client.feedback(KEY)).verdict is Verdict.FAILING


async def test_a_misspelt_key_is_found_among_the_strangers(api: Served) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    await tell(api, hop(1, key="agent-24"), hop(2, key="agent-24"), hop(3, key="agent-24", parent="f" * 16))
    found = await api.client.feedback(KEY)
    assert found.verdict is Verdict.MISROUTED
    assert "2 with 'agent-24'" in found.summary


async def test_strangers_are_bounded() -> None:
    async def nobody(_: set[str]) -> None:
        raise AssertionError

    intake = Intake(MemoryHops(), lambda _: False, nobody)
    await intake.take(b"".join(encode_hop(hop(number, key=f"k{number}")) for number in range(STRANGERS)))
    await intake.take(encode_hop(hop(0, key="k0")) + encode_hop(hop(1, key="new")))
    assert len(intake.strangers) == STRANGERS
    assert "k1" not in intake.strangers
    assert list(intake.strangers.items())[-2:] == [("k0", 2), ("new", 1)]


async def test_nobody_of_that_name(api: Served) -> None:
    with pytest.raises(RegistryError, match="nobody"):
        await api.client.feedback("nobody")


async def test_a_claim_is_judged_with_evidence(api: Served) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    reached = {"sandbox": KEY, "revision": 1}
    await tell(api, hop(1, **reached, trace="t"), hop(2, time=time.time() - 60, **reached))
    claim = Claim(workload="shop/users")
    assert (await api.client.assert_routed(KEY, claim)).holds
    found = await api.client.assert_routed(KEY, Claim(workload="shop/users", requests=2))
    assert found.sentence == "1 request reached revision 1 of shop/users, 2 should have"
    assert (await api.client.assert_routed(KEY, Claim(workload="shop/users", requests=2, since="2m"))).reached == 2
    assert not (await api.client.assert_routed(KEY, Claim(workload="shop/users", revision=2))).holds


@pytest.mark.parametrize(
    ("claim", "path"),
    [
        ({"workload": "shop/typo"}, "workload"),
        ({"workload": "shop/users", "since": "now"}, "since"),
        ({"workload": "shop/users", "requests": 0}, "requests"),
        ({"workload": "shop/users", "colour": "red"}, "colour"),
        ({}, "workload"),
    ],
)
async def test_a_claim_that_does_not_fit_names_its_field(api: Served, claim: dict[str, Any], path: str) -> None:
    await api.client.apply(document(KEY))
    status, problem, _ = await api.ask("POST", f"/v1/sandboxes/{KEY}/assertions", json=claim)
    assert (status, problem["problems"][0]["path"]) == (422, path)
