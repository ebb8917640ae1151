"""What a fork can change in its pods, on a real cluster: what the API server makes of it is what counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.node import NodeError
from tests.kubernetes.installation import Installation

SECRET = {"name": "shop-password"}


@pytest.fixture
def secret(installed: Installation) -> Iterator[None]:
    installed.kubectl("-n", "shop", "create", "secret", "generic", SECRET["name"], "--from-literal=word=sesame")
    yield
    installed.kubectl("-n", "shop", "delete", "secret", SECRET["name"])


def pod(installed: Installation, name: str) -> dict[str, Any]:
    (found,) = installed.objects("pods", "-n", "shop", "-l", f"skycap.dev/sandbox={name}")
    return found


def test_arguments_variables_and_a_patch(installed: Installation, secret: None) -> None:
    """The patch finds the container by its name and the port by its number, as strategic merge patches do. (A null
    would be lost on its way through `kubectl apply`.)"""
    patch = {
        "metadata": {"annotations": {"team": "loyalty"}},
        "spec": {
            "terminationGracePeriodSeconds": 3,
            "containers": [
                {
                    "name": "users",
                    "ports": [{"containerPort": 9000, "name": "extra"}],
                    "env": [{"name": "PATCHED", "value": "yes"}],
                    "lifecycle": {"$patch": "delete"},
                }
            ],
        },
    }
    fork = {
        "workload": "shop/users",
        "args": ["-m", "controlplane.demo.shop.users_v2"],
        "command": ["python3"],
        "env": {"PLAIN": "1"},
        "valueFrom": [{"name": "WORD", "secretKeyRef": {**SECRET, "key": "word"}}],
        "patch": patch,
    }
    installed.apply("changed", fork)
    installed.ready("changed")
    assert installed.request("users", "/users/ada", key="changed").served_by == "shop/users;sandbox=changed;rev=1"
    found = pod(installed, "changed")
    (container,) = found["spec"]["containers"]
    assert (container["command"], container["args"]) == (["python3"], ["-m", "controlplane.demo.shop.users_v2"])
    assert [port["containerPort"] for port in container["ports"]] == [9000, 8080], "merged by number"
    assert not container.get("lifecycle"), "it was taken away"
    names = [one["name"] for one in container["env"]]
    assert {"HOST", "PORT", "PLAIN", "WORD", "PATCHED"} <= set(names)
    assert found["spec"]["terminationGracePeriodSeconds"] == 3
    assert found["metadata"]["annotations"]["team"] == "loyalty"
    environ = installed.kubectl("-n", "shop", "exec", found["metadata"]["name"], "-c", "users", "--", "env")
    assert "WORD=sesame" in environ


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"spec": {"containers": [{"name": "user", "tty": True}]}}, "patch.spec.containers[0].image: Required value"),
        ({"spec": {"containers": [{"name": "users", "imgae": "a"}]}}, 'unknown field "patch.spec.containers[0].imgae"'),
        ({"spec": {"containers": {"name": "users"}}}, "patch"),
        ({"spec": {"restartPolicy": "Never"}}, 'patch.spec.restartPolicy: Unsupported value: "Never"'),
    ],
)
def test_a_patch_that_does_not_apply_is_a_condition_with_the_field(
    installed: Installation, patch: dict[str, Any], said: str
) -> None:
    installed.apply("unfit", {"workload": "shop/users", "patch": patch})
    installed.until(lambda: installed.condition("unfit")["reason"] == "ShadowFailed", "it is told")
    message = installed.condition("unfit")["message"]
    assert "its patch does not apply: " in message
    assert said in message
    assert installed.shadows() == [], "nothing was started"


@pytest.mark.parametrize(
    ("fork", "said"),
    [
        (
            {"patch": {"spec": {"priority": 1}}, "endpoints": ["10.0.0.1:1"]},
            "has both endpoints and what starts a shadow",
        ),
        ({"valueFrom": [{"name": "A"}]}, "needs one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef"),
        (
            {"env": {"A": "1"}, "valueFrom": [{"name": "A", "fieldRef": {"fieldPath": "metadata.name"}}]},
            "env and valueFrom set the same variable: say one",
        ),
    ],
)
def test_admission_knows_the_changes(installed: Installation, fork: dict[str, Any], said: str) -> None:
    with pytest.raises(NodeError) as refused:
        installed.apply("never", {"workload": "shop/users", **fork})
    assert said in str(refused.value)


def test_a_label_in_a_patch_is_refused_with_the_reason(installed: Installation) -> None:
    installed.apply("greedy", {"workload": "shop/users", "patch": {"metadata": {"labels": {"app": "users"}}}})
    installed.until(lambda: installed.condition("greedy")["reason"] == "Invalid", "it is refused")
    assert (
        "spec.forks[0].patch: may change metadata.annotations, and not metadata.labels"
        in (installed.condition("greedy")["message"])
    )


def test_the_fields_explain_themselves(installed: Installation) -> None:
    told = installed.kubectl("explain", "sandbox.spec.forks")
    for field in ("image", "command", "args", "env", "valueFrom", "patch", "workload"):
        assert f"\n  {field}\t" in told, told
    assert "strategic merge patch of the shadow's pod template" in told
    assert "an entry of a Secret" in installed.kubectl("explain", "sandbox.spec.forks.valueFrom.secretKeyRef")
