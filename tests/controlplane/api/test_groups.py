"""`/v1/groups` and the typed client."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.client import RegistryError
from controlplane.model.group import GroupPhase
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import USERS, document, fork


def group(*members: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "RouteGroup",
        "metadata": {"name": "together", "owner": "ada"},
        "spec": {"members": list(members), **spec},
    }


async def test_make_look_at_and_end_one(api: Served) -> None:
    await api.client.apply(document("a"))
    await api.client.apply(document("b", fork("shop/cart", port=2)))
    await api.client.wait("a", 10)
    status, body, _ = await api.ask("PUT", "/v1/groups/together", json=group("a", "b"))
    assert (status, body["status"]["phase"], body["metadata"]["owner"]) == (201, "Ready", "ada")
    status, again, _ = await api.ask("PUT", "/v1/groups/together", json=body)
    assert (status, again["status"]["routes"][1]) == (
        200, {"workload": USERS, "sandbox": "a", "revision": 1, "state": "ready"},
    )  # fmt: skip
    found = await api.client.group("together")
    assert found.status is not None
    assert found.status.phase is GroupPhase.READY
    assert [one.name for one in await api.client.groups()] == ["together"]
    assert (await api.client.apply_group(found)).spec.members == ("a", "b")
    assert (await api.client.explain("together", USERS)).sandbox == "a"
    await api.client.delete_group("together")
    with pytest.raises(RegistryError, match="there is no route group 'together'"):
        await api.client.group("together")
    assert (await api.client.explain("together", USERS)).decision.value == "error"


async def test_what_cannot_be(api: Served) -> None:
    await api.client.apply(document("a"))
    await api.client.apply(document("b"))
    status, body, _ = await api.ask("PUT", "/v1/groups/together", json=group("a", "b"))
    assert (status, body["problems"][0]["path"]) == (409, "spec.members")
    assert "a and b both fork shop/users" in body["problems"][0]["message"]
    status, body, _ = await api.ask("PUT", "/v1/groups/together", json=group("a", routingKey="b"))
    assert (status, body["problems"][0]["path"]) == (409, "spec.routingKey")
    status, body, _ = await api.ask("PUT", "/v1/groups/together", json=group("a", more=1))
    assert (status, body["problems"]) == (422, [{"path": "spec.more", "message": "unknown field"}])
    status, _, _ = await api.ask("DELETE", "/v1/groups/nobody")
    assert status == 404
