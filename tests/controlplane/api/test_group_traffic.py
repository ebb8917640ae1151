"""Requests with the key of a route group: seen, traced, judged, stubbed and previewed as those of a sandbox are."""

from __future__ import annotations

import pytest

from controlplane.client import RegistryError
from controlplane.model.feedback import Verdict
from controlplane.model.handoff import PreviewRequest
from controlplane.model.stub import Stub
from proxy.contract.hops import INBOUND, OUTBOUND, Hop
from tests.controlplane.api.served import Served
from tests.controlplane.api.test_feedback import hop, tell
from tests.controlplane.api.test_groups import group
from tests.controlplane.api.test_previews import environment, gateway
from tests.controlplane.api.test_stubs import Rules, rules  # noqa: F401 (a fixture)
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import USERS, document, fork

CART = "shop/cart"


async def together(api: Served) -> None:
    """Two sandboxes, of which one forks users and the other one the cart, and their group, with the key `both`."""
    await api.client.apply(document("a"))
    await api.client.apply(document("b", fork(CART, port=2)))
    await api.client.wait("a", 10)
    await api.client.wait("b", 10)
    status, _, _ = await api.ask("PUT", "/v1/groups/together", json=group("a", "b", routingKey="both"))
    assert status == 201


def request(first: int, status: int = 200) -> list[Hop]:
    """One that went through b's cart to a's users."""
    known = {"key": "both", "trace": f"{first:032x}", "method": "GET"}
    above, call = f"{first:016x}", f"{first + 1:016x}"
    return [
        hop(first, workload=CART, path="/cart", status=status, sandbox="b", revision=1, **known),
        hop(first + 1, workload=CART, side=OUTBOUND, peer=USERS, path="/u", status=status, parent=above, **known),
        hop(first + 2, side=INBOUND, path="/u", status=status, sandbox="a", revision=1, parent=call, **known),
    ]


async def test_its_requests_are_seen_and_traced(api: Served) -> None:
    await together(api)
    await tell(api, *request(16))
    page = await api.client.traffic("together", group=True)
    assert [(each.workload, each.key) for each in page.items] == [(USERS, "both"), (CART, "both"), (CART, "both")]
    found = await api.client.traffic("together", {"workload": USERS}, group=True)
    assert [each.workload for each in found.items] == [USERS]
    assert (await api.client.traffic("a")).items == (), "these were asked with its own key"
    tree = await api.client.trace(f"{16:032x}")
    assert (tree.sandbox, tree.group, [each.depth for each in tree.hops]) == ("", "together", [0, 1, 2])
    assert (await api.client.trace(f"{16:032x}", "a")).group == "together"
    with pytest.raises(RegistryError, match="there is no route group 'other'"):
        await api.client.traffic("other", group=True)


async def test_its_requests_as_they_come_until_it_ends(api: Served) -> None:
    await together(api)
    await tell(api, *request(16))
    seen = []
    async for each in api.client.follow_traffic("together", after=0, group=True):
        seen.append(each.workload)
        if len(seen) == 3:
            await api.client.delete_group("together")
    assert seen == [CART, CART, USERS]


async def test_each_of_its_sandboxes_is_told_what_became_of_them(api: Served) -> None:
    await together(api)
    await tell(api, *request(16))
    found = await api.client.group_feedback("together")
    assert [(each.sandbox, each.verdict) for each in found] == [("a", Verdict.PASSING), ("b", Verdict.PASSING)]
    await tell(api, *request(32, status=500))
    a, b = await api.client.group_feedback("together")
    assert (a.verdict, b.verdict) == (Verdict.FAILING, Verdict.FAILING)
    assert a.failures[0].workload == b.failures[0].workload == USERS
    assert [action.tool for action in a.next_actions][:1] == ["push_files"]
    assert a.next_actions[0].arguments["name"] == "a"
    assert (await api.client.feedback("a")).verdict is Verdict.NO_TRAFFIC, "with its own key there was none"


async def test_stubs_of_its_sandboxes_are_heeded_under_its_key(
    api: Served,
    rules: Rules,  # noqa: F811
) -> None:
    await together(api)
    await api.client.set_stubs("a", [Stub(name="resets", workload=USERS, fault="reset")])
    await api.client.set_stubs("b", [Stub(name="bank", host="api.bank.example", fault="timeout")])
    await eventually(lambda: rules.told.get("both") == ["resets", "bank"])
    assert (await api.client.explain("both", USERS)).stubs
    await api.client.delete("b", 10)
    await eventually(lambda: rules.told["both"] == ["resets"])
    await api.client.delete_group("together")
    await eventually(lambda: rules.told["both"] == [])
    assert rules.told["a"] == ["resets"]


async def test_a_link_with_its_key(api: Served) -> None:
    await environment(api)
    await api.client.apply(document("b", fork(CART, port=2)))
    await api.client.wait("b", 10)
    with pytest.raises(RegistryError, match="sandbox 'agent-42' is in no route group 'together'"):
        await api.client.create_preview("agent-42", PreviewRequest(group="together"))
    await api.ask("PUT", "/v1/groups/together", json=group("agent-42", "b", routingKey="both"))
    async with gateway(api) as told:
        made = await api.client.create_preview("agent-42", PreviewRequest(group="together"))
        own = await api.client.create_preview("agent-42", PreviewRequest())
        assert (made.group, own.group) == ("together", None)
        await eventually(lambda: sorted(link["key"] for link in told.links.values()) == ["agent-42", "both"])
        await api.ask("PUT", "/v1/groups/together", json=group("b", routingKey="both"))
        await eventually(lambda: [link["key"] for link in told.links.values()] == ["agent-42"])
        assert [link.id for link in await api.client.previews("agent-42")] == [own.id]
        await api.ask("PUT", "/v1/groups/together", json=group("agent-42", routingKey="both"))
        await eventually(lambda: sorted(link["key"] for link in told.links.values()) == ["agent-42", "both"])
        await api.client.delete_group("together")
        await eventually(lambda: [link["key"] for link in told.links.values()] == ["agent-42"])
