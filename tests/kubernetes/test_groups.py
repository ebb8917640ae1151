"""Route groups as resources: whoever writes them with kubectl gets the same as by REST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.cluster.node import NodeError
from tests.kubernetes.installation import Installation, users


@pytest.fixture
def grouped(installed: Installation) -> Iterator[Installation]:
    yield installed
    installed.kubectl("delete", "routegroups", "--all", "--timeout=60s")


def group(name: str, *members: str, **spec: Any) -> str:
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "RouteGroup", "metadata": {"name": name}}
    return json.dumps({**document, "spec": {"members": list(members), **spec}})


def found(installed: Installation, name: str) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(installed.kubectl("get", "routegroup", name, "-o", "json"))
    return item


def ready(installed: Installation, name: str) -> dict[str, Any]:
    conditions = (found(installed, name).get("status") or {}).get("conditions") or [{"reason": "", "message": ""}]
    first: dict[str, Any] = conditions[0]
    return first


CATALOG = {"workload": "shop/catalog", "image": SKYCAP, "command": ["python3", "-m", "controlplane.demo.shop.catalog"]}


def test_its_key_leads_to_the_shadows_of_all_its_members(grouped: Installation) -> None:
    grouped.apply("one", users("users_v2"))
    grouped.kubectl("apply", "-f", "-", given=group("both", "one", "two"))
    grouped.until(lambda: ready(grouped, "both")["reason"] == "Incomplete", "a member is missing")
    assert "there is no sandbox 'two'" in ready(grouped, "both")["message"]
    grouped.apply("two", CATALOG)
    grouped.kubectl("wait", "--for=condition=Ready", "routegroup/both", "sbx/one", "sbx/two", "--timeout=120s")
    served = grouped.checkout("both").served_by
    assert "shop/users;sandbox=one;rev=1" in served
    assert "shop/catalog;sandbox=two;rev=1" in served
    shown = grouped.kubectl("get", "rgr").splitlines()
    assert shown[0].split() == ["NAME", "PHASE", "KEY", "MEMBERS", "OWNER", "AGE"]
    assert shown[1].split()[:5] == ["both", "Ready", "both", "one,", "two"]
    listed = grouped.ask("GET", "/v1/groups")["items"]
    assert [(item["metadata"]["name"], item["spec"]["members"]) for item in listed] == [("both", ["one", "two"])]
    grouped.kubectl("delete", "routegroup", "both")
    assert grouped.request("users", "/users/ada", key="one").status == 200
    grouped.until(lambda: grouped.request("users", "/users/ada", key="both").status == 503, "its key has ended")


def test_one_by_rest_is_a_resource(grouped: Installation) -> None:
    grouped.apply("alone", users("users_v2"))
    grouped.ready("alone")
    ended = grouped.skycap("group", "apply", "small", "alone")
    assert ended.returncode == 0, ended.stderr
    assert found(grouped, "small")["spec"]["members"] == ["alone"]
    grouped.kubectl("wait", "--for=condition=Ready", "routegroup/small", "--timeout=60s")
    grouped.kubectl("patch", "routegroup", "small", "--type=merge", "-p", '{"spec":{"members":["alone","later"]}}')
    grouped.until(lambda: "'later'" in ready(grouped, "small")["message"], "what kubectl has changed counts")
    assert grouped.skycap("group", "delete", "small").returncode == 0
    grouped.until(lambda: not grouped.objects("routegroups"), "the resource is gone")


def test_what_cannot_be_is_a_condition(grouped: Installation) -> None:
    grouped.apply("first", users("users_v2"))
    grouped.apply("second", users("users_v2"))
    grouped.ready("first")
    grouped.ready("second")
    grouped.kubectl("apply", "-f", "-", given=group("fight", "first", "second"))
    grouped.until(lambda: ready(grouped, "fight")["reason"] == "Conflict", "two members fork the same")
    assert (
        "first and second both fork shop/users, and nobody can say which is meant" in ready(grouped, "fight")["message"]
    )
    grouped.kubectl("apply", "-f", "-", given=group("thief", "first", routingKey="second"))
    grouped.until(lambda: ready(grouped, "thief")["reason"] == "KeyTaken", "a key has one owner")
    assert "'second' is the routing key of sandbox 'second'" in ready(grouped, "thief")["message"]
    for wrong, said in (
        (group("never"), "spec.members"),
        (group("never", "a", "a"), "spec.members[1]: Duplicate value"),
        (group("never", "A_b"), "spec.members[0]"),
    ):
        with pytest.raises(NodeError) as refused:
            grouped.kubectl("apply", "-f", "-", given=wrong)
        assert said in str(refused.value)
    grouped.kubectl("apply", "-f", "-", given=group("kept", "first"))
    with pytest.raises(NodeError) as refused:
        grouped.kubectl("patch", "routegroup", "kept", "--type=merge", "-p", '{"spec":{"routingKey":"another"}}')
    assert "spec.routingKey cannot change: traffic carries it. Delete the RouteGroup first" in str(refused.value)
    told = grouped.kubectl("explain", "routegroup.spec")
    assert "names of sandboxes; one that there is not yet is taken in" in " ".join(told.split())
