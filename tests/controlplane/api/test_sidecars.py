from __future__ import annotations

import pytest

from controlplane.client import RegistryError
from controlplane.launch.port import LaunchError
from controlplane.model.explanation import Decision
from controlplane.model.sidecar import SidecarReport
from controlplane.model.workload import Workload
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
