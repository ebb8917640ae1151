"""Going back to a spec that a sandbox had, over the API and the typed client."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.api.access import Role
from controlplane.client import RegistryError
from controlplane.launch.port import LaunchError
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from tests.controlplane.api.served import TOKENS, Served
from tests.controlplane.sandboxes import USERS, document, fork


async def apply(api: Served, port: int, **more: object) -> None:
    await api.client.apply(document("agent-42", fork(port=port), **more))
    await api.client.wait("agent-42", 10)


async def test_a_rollback_is_a_new_revision_with_the_old_spec(api: Served) -> None:
    said = document("agent-42", fork(port=1))
    said["metadata"]["owner"] = "ada"
    await api.client.apply(said)
    await api.client.wait("agent-42", 10)
    said["spec"]["forks"] = [fork(port=2)]
    said["metadata"]["owner"] = "bob"
    await api.client.apply(said)
    await api.client.wait("agent-42", 10)
    back = await api.client.rollback("agent-42", 1)
    assert back.status is not None
    assert (back.status.revision, back.spec.forks[0].endpoints) == (3, ("127.0.0.1:1",))
    assert back.metadata.owner == "bob", "what is no spec stays"
    settled = await api.client.wait("agent-42", 10)
    assert settled.status is not None
    assert (settled.status.phase, settled.status.forks[0].endpoints) == (Phase.READY, ("127.0.0.1:1",))
    kept = await api.client.revisions("agent-42")
    assert [(item.revision, item.served, item.current) for item in kept] == [
        (3, True, True), (2, True, False), (1, True, False),
    ]  # fmt: skip


async def test_without_a_revision_it_goes_back_to_what_has_served(api: Served) -> None:
    await apply(api, 1)
    api.launcher.failing = {2: LaunchError("it is broken"), 3: LaunchError("it still is")}
    await apply(api, 2)
    await apply(api, 3)
    back = await api.client.rollback("agent-42")
    assert back.spec.forks[0].endpoints == ("127.0.0.1:1",)
    assert [item.served for item in await api.client.revisions("agent-42")][1:] == [False, False, True]


async def test_what_cannot_be_gone_back_to_is_named(api: Served) -> None:
    await apply(api, 1)

    async def refused(body: object) -> str:
        status, answer, _ = await api.ask("POST", "/v1/sandboxes/agent-42/rollback", json=body)
        assert status == 422
        (problem,) = answer["problems"]
        return f"{problem['path']}: {problem['message']}"

    assert await refused({}) == "revision: no spec before the current one has served: there is only revision 1"
    assert await refused({"revision": 7}) == "revision: revision 7 is not kept: there is only revision 1"
    assert await refused({"revision": 1}) == (
        "revision: 1 has the same spec as the current revision 1: nothing to go back to"
    )
    assert await refused({"revision": "1"}) == "revision: must be a number, not '1'"
    assert await refused({"to": 1}) == "to: unknown field"
    await apply(api, 2)
    assert await refused({"revision": 7}) == "revision: revision 7 is not kept: there are 1, 2"
    status, answer, _ = await api.ask("POST", "/v1/sandboxes/nobody/rollback", json={})
    assert (status, answer["code"]) == (404, "not-found")
    await api.client.delete("agent-42", 10)
    with pytest.raises(RegistryError, match="no sandbox"):
        await api.client.rollback("agent-42", 1)


async def test_what_an_installation_cannot_start_any_more_is_not_gone_back_to(api: Served) -> None:
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1", command=("true",), cwd="/"))
    await api.client.apply(document("agent-42", {"workload": USERS, "command": ["true"]}))
    await apply(api, 2)
    await api.client.delete_workload(USERS)
    with pytest.raises(RegistryError) as refused:
        await api.client.rollback("agent-42", 1)
    assert "no baseline of shop/users is registered" in str(refused.value)


async def test_changes_are_those_of_the_current_spec_unless_others_are_named(api: Served) -> None:
    for port in (1, 2):
        await apply(api, port)
    await apply(api, 2, ttl="2h")
    found = await api.client.changes("agent-42")
    assert (found.from_revision, found.to_revision, [item.path for item in found.changes]) == (2, 3, ["spec.ttl"])
    found = await api.client.changes("agent-42", 1, 2)
    assert [(item.path, item.before, item.after) for item in found.changes] == [
        ("spec.forks[shop/users].endpoints", ["127.0.0.1:1"], ["127.0.0.1:2"])
    ]
    assert (await api.client.changes("agent-42", 3, 3)).changes == ()
    for query, path in (("?from=9", "?from"), ("?to=9", "?to")):
        status, answer, _ = await api.ask("GET", f"/v1/sandboxes/agent-42/changes{query}")
        assert (status, answer["problems"][0]["path"]) == (422, path)
    status, answer, _ = await api.ask("GET", "/v1/sandboxes/agent-42/changes?to=1")
    assert (status, answer["detail"]) == (404, "nothing is kept from before revision 1 of sandbox 'agent-42'")


async def test_a_viewer_sees_that_a_variable_changed_and_not_to_what(api: Served) -> None:
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1", command=("true",), cwd="/"))
    for secret in ("one", "two"):
        await api.client.apply(
            document("agent-42", {"workload": USERS, "command": ["true"], "env": {"TOKEN": f"secret-{secret}"}})
        )
    await api.client.apply(document("agent-42", fork()))
    viewer = {"authorization": f"Bearer {TOKENS[Role.VIEWER]}"}
    for path in ("revisions", "changes", "changes?from=1&to=2"):
        status, answer, _ = await api.ask("GET", f"/v1/sandboxes/agent-42/{path}", headers=viewer)
        assert status == 200
        assert "secret-" not in str(answer)
        assert "(hidden)" in str(answer)
        assert "secret-" in str((await api.ask("GET", f"/v1/sandboxes/agent-42/{path}"))[1])
    status, answer, _ = await api.ask("POST", "/v1/sandboxes/agent-42/rollback", json={}, headers=viewer)
    assert (status, answer["code"]) == (403, "forbidden")


async def test_extending_is_counted_from_the_end(api: Served) -> None:
    await apply(api, 1, ttl="1h")
    before = (await api.client.sandbox("agent-42")).status
    after = (await api.client.extend("agent-42", "2h")).status
    assert before is not None
    assert after is not None
    assert (after.revision, after.phase) == (1, Phase.READY)
    assert after.expires - before.expires == timedelta(hours=2)
    for body, path in (({"ttl": "90d"}, "ttl"), ({"ttl": "soon"}, "ttl"), ({}, "ttl"), ({"by": "2h"}, "by")):
        status, answer, _ = await api.ask("POST", "/v1/sandboxes/agent-42/extend", json=body)
        assert (status, path in [item["path"] for item in answer["problems"]]) == (422, True)
    status, _, _ = await api.ask("POST", "/v1/sandboxes/nobody/extend", json={"ttl": "2h"})
    assert status == 404
