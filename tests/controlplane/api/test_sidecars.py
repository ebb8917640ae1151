from __future__ import annotations

from typing import Any

import pytest

from controlplane.client import RegistryError
from controlplane.launch.port import LaunchError
from controlplane.model.explanation import Decision
from controlplane.model.sandbox import Phase
from controlplane.model.sidecar import SidecarReport
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from proxy.contract.hops import HOPS_TYPE, INBOUND, Hop, encode_hop
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import USERS, sandbox


async def test_a_report_of_one_that_does_not_watch(api: Served) -> None:
    await api.client.report("shop/users@host-1", SidecarReport(workload=USERS, applied_revision=100))
    (shown,) = await api.client.sidecars()
    assert (shown.id, shown.connected, shown.in_sync, shown.applied_revision) == (
        "shop/users@host-1",
        False,
        False,
        100,
    )


async def test_what_a_newer_sidecar_says_besides_is_ignored(api: Served) -> None:
    body = {"workload": USERS, "appliedRevision": 100, "version": "9.9", "routes": 3}
    assert (await api.ask("PUT", "/v1/sidecars/a", json=body))[0] == 204


async def test_a_sidecar_at_which_a_request_waits_wakes_the_shadow(api: Served) -> None:
    await asleep(api)
    await api.client.report("b", SidecarReport(workload=USERS, applied_revision=0, waiting=("nobody", "a")))
    assert await phase(api) is Phase.READY
    body = {"workload": USERS, "appliedRevision": 0, "waiting": ["not a key"]}
    status, answer, _ = await api.ask("PUT", "/v1/sidecars/b", json=body)
    assert (status, answer["problems"][0]["path"]) == (422, "waiting[0]")


async def test_one_that_cannot_say_so_wakes_it_by_the_request_that_failed(api: Served) -> None:
    await asleep(api)

    async def told(**fields: Any) -> None:
        hop = Hop(id="0" * 15 + "1", time=1.0, key="a", workload=USERS, side=INBOUND, **fields)
        await api.http.post(f"{api.url}/v1/hops", data=encode_hop(hop), headers={"content-type": HOPS_TYPE})

    await told(status=200)
    assert await phase(api) is Phase.SLEEPING, "a late hop of an earlier request"
    await told(status=503, error="shadow-pending")
    assert await phase(api) is Phase.READY


async def test_a_wish_that_cannot_be_stored_is_to_be_said_again(api: Served) -> None:
    await asleep(api)
    api.store.problem = StoreError("the disk is gone")
    with pytest.raises(RegistryError, match="the disk is gone"):
        await api.client.report("b", SidecarReport(workload=USERS, applied_revision=0, waiting=("a",)))
    api.store.problem = None
    await api.client.report("b", SidecarReport(workload=USERS, applied_revision=0, waiting=("a",)))
    assert await phase(api) is Phase.READY


async def asleep(api: Served) -> None:
    """Sandbox `a` sleeps."""
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1", command=("true",)))
    await api.client.apply(sandbox("a", {"workload": USERS, "command": ["true"]}, idle="1h"))
    await api.client.wait("a", 10)
    assert await api.registry.sandboxes._lives["a"].step(lambda record, now: record.slept(now))
    assert await phase(api) is Phase.SLEEPING


async def phase(api: Served) -> Phase:
    found = (await api.client.wait("a", 10)).status
    assert found is not None
    return found.phase


async def test_an_id_that_we_never_gave_out_acknowledges_nothing(api: Served) -> None:
    await api.client.report("a", SidecarReport(workload=USERS, applied_revision=10**12))
    assert (await api.client.sidecars())[0].applied_revision == 0


@pytest.mark.parametrize(
    ("ident", "body", "path"),
    [
        ("a", {"appliedRevision": 1}, "workload"),
        ("a", {"workload": USERS}, "appliedRevision"),
        ("a", {"workload": USERS, "applied_revision": 1}, "appliedRevision"),
        ("a", {"workload": "users", "appliedRevision": 1}, "workload"),
        ("a", {"workload": USERS, "appliedRevision": -1}, "appliedRevision"),
        ("a", {"workload": USERS, "appliedRevision": 2**53}, "appliedRevision"),
        ("a", {"workload": USERS, "appliedRevision": "1"}, "appliedRevision"),
        ("a", {"workload": USERS, "appliedRevision": True}, "appliedRevision"),
        ("a", {"workload": USERS, "appliedRevision": 1.5}, "appliedRevision"),
        ("%20", {"workload": USERS, "appliedRevision": 1}, "id"),
        ("a" * 193, {"workload": USERS, "appliedRevision": 1}, "id"),
    ],
)
async def test_a_bad_report(api: Served, ident: str, body: dict[str, object], path: str) -> None:
    status, problem, _ = await api.ask("PUT", f"/v1/sidecars/{ident}", json=body)
    assert status == 422
    assert [item["path"] for item in problem["problems"]] == [path]
    assert await api.client.sidecars() == []


async def test_explaining(api: Served) -> None:
    explained = await api.client.explain("a", USERS)
    assert (explained.decision, explained.in_force) == (Decision.BASELINE, False)
    await api.client.apply(sandbox("a"))
    await api.client.wait("a")
    explained = await api.client.explain("a", USERS)
    assert (explained.decision, explained.sandbox, explained.revision) == (Decision.SHADOW, "a", 1)
    assert explained.endpoints == ("127.0.0.1:9102",)
    explained = await api.client.explain("a", "shop/cart")
    assert (explained.decision, explained.sandbox) == (Decision.BASELINE, "a")
    assert "does not fork shop/cart" in explained.reason


async def test_explaining_what_nobody_knows(api: Served) -> None:
    """The contract of 200 stays: a sidecar of that name would do so. That there is none is said besides."""
    nothing = await api.client.explain("a", "shop/user")
    assert (nothing.decision, nothing.known, nothing.known_workloads) == (Decision.BASELINE, False, ())
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1"))
    await api.client.report("a", SidecarReport(workload="shop/cart", applied_revision=0))
    await api.client.apply(sandbox("a", {"workload": "shop/orders", "endpoints": ["127.0.0.1:9102"]}))
    explained = await api.client.explain("a", "shop/user")
    assert (explained.known, explained.known_workloads) == (False, (USERS, "shop/orders", "shop/cart"))
    assert explained.reason.startswith("nobody knows a workload 'shop/user' (did you mean 'shop/users'?): ")
    for workload in explained.known_workloads:
        found = await api.client.explain("a", workload)
        assert (found.known, found.known_workloads) == (True, ())


async def test_explaining_a_failure(api: Served) -> None:
    api.launcher.failing[1] = LaunchError("broken")
    await api.client.apply(sandbox("a"))
    await api.client.wait("a")
    assert (await api.client.explain("a", USERS)).decision is Decision.ERROR


async def test_a_key_is_anything_that_a_request_could_carry(api: Served) -> None:
    explained = await api.client.explain("not a key, ä", USERS)
    assert explained.decision is Decision.BASELINE
    assert "is no routing key" in explained.reason
    for key in ("", "a\nb", "x" * 257):
        with pytest.raises(RegistryError) as raised:
            await api.client.explain(key, USERS)
        assert raised.value.status == 400
