"""The shop on a real node: plain manifests, injected by the webhook, its sandboxes made with kubectl."""

from __future__ import annotations

import json

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.cluster.node import NodeError
from tests.kubernetes.installation import SERVICES, SYSTEM, Installation, users
from tests.kubernetes.traffic import going_on


def test_every_pod_has_its_sidecar_and_says_so(installed: Installation) -> None:
    pods = installed.objects("pods", "-n", "shop")
    assert len(pods) == len(SERVICES)
    for pod in pods:
        app = pod["metadata"]["labels"]["app"]
        assert pod["metadata"]["annotations"]["skycap.dev/injection"] == f"injected: shop/{app}, transparent"
        assert [item["name"] for item in pod["spec"]["initContainers"]] == ["skycap-proxy", "skycap-intercept"]
    logs = installed.kubectl("-n", "shop", "logs", "deployment/users")
    assert "skycap.sidecar" not in logs, "the default container is still the application"


def test_a_request_with_the_key_reaches_the_shadow_and_others_the_baseline(installed: Installation) -> None:
    installed.apply("loyalty", users("users_v2"))
    installed.ready("loyalty")
    plain, keyed = installed.checkout(), installed.checkout("loyalty")
    assert json.loads(plain.body)["tier"] == "standard"
    assert plain.served_by == ""
    assert (json.loads(keyed.body)["tier"], json.loads(keyed.body)["price"]) == ("gold", "10.80 EUR")
    assert keyed.served_by == (
        "shop/frontend;baseline, shop/users;sandbox=loyalty;rev=1, shop/catalog;baseline, shop/orders;baseline, "
        "shop/payments;baseline, shop/rates;baseline"
    )
    assert installed.request("users", "/users/ada", key="stranger").served_by == "shop/users;baseline;key=unknown"
    shown = installed.kubectl("get", "sbx")
    assert shown.splitlines()[0].split() == ["NAME", "PHASE", "KEY", "REVISION", "FORKS", "OWNER", "AGE"]
    assert shown.splitlines()[1].split()[:5] == ["loyalty", "Ready", "loyalty", "1", "shop/users"]


def test_the_shadow_is_nobody_elses(installed: Installation) -> None:
    """No Service, no rollout of the baseline and no other controller takes it for one of the baseline's pods."""
    installed.apply("lonely", users("users_v2"))
    installed.ready("lonely")
    (pod,) = installed.objects("pods", "-n", "shop", "-l", "skycap.dev/sandbox=lonely")
    assert pod["status"]["podIP"] not in installed.endpoints("shop", "users")
    assert pod["metadata"]["labels"]["skycap.dev/fork"] == "users"
    (deployment,) = installed.objects("deployments", "-n", "shop", "-l", "skycap.dev/sandbox=lonely")
    assert deployment["metadata"]["ownerReferences"][0]["kind"] == "Sandbox"


def test_the_broken_contract_is_told_in_the_words_of_whoever_broke(installed: Installation) -> None:
    installed.apply("broken", users("users_v3_buggy"))
    installed.ready("broken")
    assert installed.checkout("broken").status == 400
    ended = installed.skycap("sandbox", "feedback", "broken")
    assert "broken revision 1: failing" in ended.stdout, ended.stdout + ended.stderr
    assert "currency must be one of EUR, CHF, GBP" in ended.stdout


def test_an_update_in_place_fails_no_request(installed: Installation) -> None:
    installed.apply("growing", users("users_v2"))
    installed.ready("growing")
    with going_on(installed, "/users/ada", key="growing") as traffic:
        installed.apply("growing", users("users_v3_fixed"))
        installed.until(
            lambda: traffic.answers[200, "shop/users;sandbox=growing;rev=2"] > 2, "revision 2 serves", seconds=120
        )
    assert traffic.failures == []
    assert {served for _, served in traffic.answers} == {f"shop/users;sandbox=growing;rev={n}" for n in (1, 2)}
    installed.until(lambda: len(installed.objects("pods", "-n", "shop", "-l", "skycap.dev/sandbox")) == 1, "1 is gone")


def test_a_failed_update_leaves_what_served(installed: Installation) -> None:
    installed.apply("careful", users("users_v2"))
    installed.ready("careful")
    installed.apply("careful", users("users_v2") | {"image": "skycap.test/nothing:here"})
    installed.until(lambda: installed.sandbox("careful")["status"]["phase"] == "Degraded", "the update has failed")
    assert "its image is not on the node" in installed.condition("careful")["message"]
    assert installed.request("users", "/users/ada", key="careful").served_by == "shop/users;sandbox=careful;rev=1"


def test_what_does_not_start_says_why(installed: Installation) -> None:
    crash = users("users") | {"command": ["python3", "-c", "import sys; print('no database'); sys.exit(3)"]}
    installed.apply("crashing", crash)
    installed.until(lambda: installed.condition("crashing")["reason"] == "ShadowFailed", "the crash is told")
    message = installed.condition("crashing")["message"]
    assert "container users: it ended with code 3" in message
    assert "no database" in message
    reply = installed.request("users", "/users/ada", key="crashing")
    assert (reply.status, reply.fields["skycap-error"]) == (503, "shadow-unreachable")


@pytest.mark.parametrize(
    ("fork", "reason", "said"),
    [
        (
            {"workload": "shop/usres"},
            "Invalid",
            "there is no Deployment and no StatefulSet and no DaemonSet shop/usres; did",
        ),
        (
            {"workload": "nowhere/users"},
            "Invalid",
            "there is no Deployment and no StatefulSet and no DaemonSet nowhere/users",
        ),
    ],
)
def test_what_cannot_be_is_a_condition(installed: Installation, fork: dict[str, str], reason: str, said: str) -> None:
    installed.apply("wrong", users("users_v2") | fork)
    installed.until(lambda: installed.condition("wrong")["reason"] == reason, "it is refused")
    assert said in installed.condition("wrong")["message"]


def test_a_key_has_one_owner(installed: Installation) -> None:
    installed.apply("first", users("users_v2"), routingKey="mine")
    installed.ready("first")
    installed.apply("second", users("users_v2"), routingKey="mine")
    installed.until(lambda: installed.condition("second")["reason"] == "KeyTaken", "the second one is refused")
    assert "'mine' is the routing key of sandbox 'first'" in installed.condition("second")["message"]
    installed.kubectl("delete", "sandbox", "first")
    installed.ready("second")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"forks": [{"workload": "shop/users"}]}, "says nothing that could start a shadow"),
        ({"forks": [{"workload": "users", "image": "a"}]}, "spec.forks[0].workload"),
        ({"forks": [users("a"), users("b")]}, "one fork per workload"),
        ({"forks": []}, "spec.forks"),
        ({"forks": [users("a") | {"imgae": "b"}]}, 'unknown field "spec.forks[0].imgae"'),
        ({"ttl": "soon"}, "spec.ttl"),
    ],
)
def test_admission_refuses_what_the_schema_can_tell(
    installed: Installation, spec: dict[str, object], said: str
) -> None:
    with pytest.raises(NodeError) as refused:
        installed.apply("never", users("users_v2"), **spec)
    assert said in str(refused.value)


def test_a_sandbox_by_rest_is_a_resource_too(installed: Installation) -> None:
    folder = installed.folder / "by-rest.yaml"
    folder.write_text(json.dumps({
        "apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "by-rest", "owner": "ada"},
        "spec": {"forks": [{"workload": "shop/users", "image": SKYCAP, "env": {"X": "1"}}]},
    }))  # fmt: skip
    ended = installed.skycap("sandbox", "apply", "-f", str(folder))
    assert ended.returncode == 0, ended.stderr
    installed.ready("by-rest")
    found = installed.sandbox("by-rest")
    assert found["metadata"]["annotations"]["skycap.dev/owner"] == "ada"
    (pod,) = installed.objects("pods", "-n", "shop", "-l", "skycap.dev/sandbox=by-rest")
    assert {"name": "X", "value": "1"} in pod["spec"]["containers"][0]["env"]
    assert installed.skycap("sandbox", "delete", "by-rest").returncode == 0
    installed.until(lambda: not installed.objects("sandboxes"), "the resource is gone")


def test_a_sandbox_that_goes_leaves_nothing(installed: Installation) -> None:
    installed.apply("brief", users("users_v2"))
    installed.ready("brief")
    installed.kubectl("delete", "sandbox", "brief", "--timeout=30s")
    installed.until(lambda: not installed.shadows(), "no shadow is left")
    reply = installed.request("users", "/users/ada", key="brief")
    assert (reply.status, reply.fields["skycap-error"]) == (503, "sandbox-ended")
    assert installed.request("users", "/users/ada").status == 200


def test_a_rollout_of_the_baseline_fails_no_request(installed: Installation) -> None:
    with going_on(installed, "/checkout?user=ada&item=tea", service="users") as warm:
        pass
    assert warm.answers
    with going_on(installed, "/users/ada") as traffic:
        installed.kubectl("-n", "shop", "rollout", "restart", "deployment/users")
        installed.kubectl("-n", "shop", "rollout", "status", "deployment/users", "--timeout=120s")
        old = len(installed.objects("pods", "-n", "shop", "-l", "app=users"))
        installed.until(
            lambda: len(installed.objects("pods", "-n", "shop", "-l", "app=users")) <= old - 1 or old == 1, ""
        )
    assert traffic.failures == []
    assert set(traffic.answers) == {(200, "")}


def test_a_leader_that_is_killed_is_replaced_and_no_request_fails(installed: Installation) -> None:
    installed.apply("steady", users("users_v2"))
    installed.ready("steady")
    before = installed.leader()
    with going_on(installed, "/users/ada", key="steady") as traffic:
        installed.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force")
        installed.until(lambda: installed.leader() not in ("", before), "another one leads")
        installed.until(lambda: len(installed.sidecars()) >= len(SERVICES), "the sidecars are back", seconds=60)
    assert traffic.failures == []
    assert set(traffic.answers) == {(200, "shop/users;sandbox=steady;rev=1")}
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=60s")
    assert installed.sandbox("steady")["status"]["revision"] == 1
    installed.apply("later", users("users_v2"))
    installed.ready("later")


def test_an_api_server_that_is_restarted_costs_no_request(installed: Installation) -> None:
    installed.apply("patient", users("users_v2"))
    installed.ready("patient")
    with going_on(installed, "/users/ada", key="patient") as traffic:
        installed.node.restart_api_server()
    assert traffic.failures == []
    installed.apply("after", users("users_v2"))
    installed.ready("after")


def test_without_the_label_pods_come_back_as_they_were(installed: Installation) -> None:
    """Uninjecting is one label and a rollout."""
    installed.kubectl("label", "namespace", "shop", "--overwrite", "skycap.dev/inject=disabled")
    try:
        installed.kubectl("-n", "shop", "rollout", "restart", "deployment/payments")
        installed.kubectl("-n", "shop", "rollout", "status", "deployment/payments", "--timeout=120s")

        def bare() -> bool:
            pods = installed.objects("pods", "-n", "shop", "-l", "app=payments")
            return all("initContainers" not in pod["spec"] for pod in pods)

        installed.until(bare, "the injected pod is gone")
        (pod,) = installed.objects("pods", "-n", "shop", "-l", "app=payments")
        assert not [name for name in pod["metadata"].get("annotations") or {} if name.startswith("skycap.dev/")]
        assert installed.request("payments", "/health").status == 200
    finally:
        installed.kubectl("label", "namespace", "shop", "--overwrite", "skycap.dev/inject=enabled")
        installed.kubectl("-n", "shop", "rollout", "restart", "deployment/payments")
        installed.kubectl("-n", "shop", "rollout", "status", "deployment/payments", "--timeout=120s")
