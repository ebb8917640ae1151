"""What becomes of shadows on a cluster: sleep, the end of their time, and all that a cluster does to pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.documents import apply, container, service
from tests.kubernetes.installation import SYSTEM, Installation, users
from tests.kubernetes.test_ports import PROGRAM

NO_SECRET = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "a"}}}


def counter(installed: Installation, space: str, **spec: Any) -> dict[str, Any]:
    """A workload that runs; a fork of it."""
    app = container(
        "python3", "-c", PROGRAM, ports=[{"name": "http", "containerPort": 8080}],
        env=[{"name": "PORTS", "value": "8080"}],
        readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    )  # fmt: skip
    template = {"spec": {"terminationGracePeriodSeconds": 1, "containers": [app], **spec}}
    apply(installed, *service("counter", space, template, {80: "http"}))
    installed.kubectl("-n", space, "rollout", "status", "deployment/counter", "--timeout=120s")
    return {"workload": f"{space}/counter", "env": {"WHO": "shadow"}}


def told(installed: Installation, name: str, said: str, seconds: float = 60) -> str:
    """The condition `Ready`, as soon as it says that."""
    installed.until(lambda: said in installed.condition(name)["message"], f"{name} says {said!r}", seconds)
    return str(installed.condition(name)["message"])


def test_a_shadow_that_nobody_calls_sleeps_and_the_next_request_wakes_it(installed: Installation) -> None:
    installed.apply("drowsy", users("users_v2"), idle="5s")
    installed.ready("drowsy")
    installed.until(lambda: installed.sandbox("drowsy")["status"]["phase"] == "Sleeping", "it sleeps", seconds=120)
    installed.until(lambda: not installed.shadows(), "and has no pod")
    assert installed.condition("drowsy")["reason"] == "Asleep"
    reply = installed.request("users", "/users/ada", key="drowsy")
    if reply.status != 200:  # ten seconds are the longest that a request waits, and the node is a small one
        assert reply.fields["skycap-error"] == "shadow-pending"
        installed.ready("drowsy")
        reply = installed.request("users", "/users/ada", key="drowsy")
    assert (reply.status, reply.served_by) == (200, "shop/users;sandbox=drowsy;rev=1")


def test_the_end_of_its_time_takes_it_away(installed: Installation) -> None:
    installed.apply("brief", users("users_v2"), ttl="8s")
    installed.until(
        lambda: "brief" not in [item["metadata"]["name"] for item in installed.objects("sandboxes")], "over"
    )
    installed.until(lambda: not installed.shadows(), "and nothing of it is left")
    reply = installed.request("users", "/users/ada", key="brief")
    assert (reply.status, reply.fields["skycap-error"]) == (503, "sandbox-ended")
    assert "its ttl was 8s" in reply.body


def test_the_output_of_every_container(installed: Installation, space: str) -> None:
    fork = counter(installed, space)
    second = {"name": "helper", "image": SKYCAP, "imagePullPolicy": "Never", "command": ["sh", "-c"]}
    second["args"] = ["echo helped; exec sleep 1000"]
    patch = {"spec": {"containers": [second]}}
    installed.apply("talking", {**fork, "patch": patch})
    installed.ready("talking")
    said = installed.skycap("sandbox", "logs", "talking")
    assert "helper: helped" in said.stdout, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"nodeSelector": {"disk": "none-such"}}, "no node takes it: 0/1 nodes are available: 1 node(s) didn't match"),
        ({"containers": [{"name": "app", "resources": {"requests": {"memory": "900Gi"}}}]}, "Insufficient memory"),
        (
            {"containers": [{"name": "app", "env": [NO_SECRET]}]},
            'its container cannot be configured (container app): secret "none" not found',
        ),
    ],
    ids=["no node", "no room", "no secret"],
)
def test_what_keeps_a_pod_from_starting_is_told(
    installed: Installation, space: str, patch: dict[str, Any], said: str
) -> None:
    installed.apply("stuck", {**counter(installed, space), "patch": {"spec": patch}})
    assert said in told(installed, "stuck", said)


def test_a_quota_and_a_policy_are_quoted(installed: Installation, space: str) -> None:
    fork = counter(installed, space)
    quota = {"hard": {"pods": "1"}}
    metadata = {"name": "one-pod", "namespace": space}
    apply(installed, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": quota})
    installed.apply("over", fork)
    message = told(installed, "over", "exceeded quota")
    assert "its pod is refused: " in message
    assert "exceeded quota: one-pod, requested: pods=1, used: pods=1, limited: pods=1" in message
    installed.kubectl("-n", space, "delete", "resourcequota", "one-pod")
    installed.kubectl("label", "namespace", space, "pod-security.kubernetes.io/enforce=restricted")
    installed.apply("rough", {**fork, "env": {"WHO": "rough"}})
    assert 'violates PodSecurity "restricted' in told(installed, "rough", "violates PodSecurity")


@contextmanager
def readiness(installed: Installation, name: str) -> Iterator[Iterator[str]]:
    """What the condition `Ready` is, and becomes: a watch misses nothing, however short it is."""
    status = '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
    with installed.watching("sandbox", name, "-o", f"jsonpath={status}") as lines:
        yield (line.strip() for line in lines)


def test_an_eviction_is_told_and_the_shadow_comes_back(installed: Installation) -> None:
    installed.apply("pushed", users("users_v2"))
    installed.ready("pushed")
    (pod,) = installed.objects("pods", "-n", "shop", "-l", "skycap.dev/sandbox=pushed")
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "shop"}}
    place = f"/api/v1/namespaces/shop/pods/{name}/eviction"
    with readiness(installed, "pushed") as seen:
        assert next(seen) == "True"
        installed.kubectl("create", "--raw", place, "-f", "-", given=json.dumps(eviction))
        assert "False" in seen
        assert "True" in seen, "it is back"
    assert installed.request("users", "/users/ada", key="pushed").served_by == "shop/users;sandbox=pushed;rev=1"


def test_a_deployment_that_nobody_knows_is_found_and_deleted(installed: Installation) -> None:
    """What a control plane has left that was killed between making it and saying so."""
    installed.apply("known", users("users_v2"))
    installed.ready("known")
    (made,) = installed.objects("deployments", "-n", "shop", "-l", "skycap.dev/sandbox=known")
    stray = {key: made[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": "users-stray-1", "namespace": "shop", "labels": {"skycap.dev/sandbox": "stray"}}
    }
    stray["spec"]["replicas"] = 0
    apply(installed, stray)
    before = installed.leader()
    installed.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force")
    installed.until(lambda: installed.leader() not in ("", before), "another one leads")
    left = "users-stray-1"
    installed.until(lambda: left not in installed.shadows(), "the stray is gone", seconds=90)
    assert made["metadata"]["name"] in installed.shadows()
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=60s")
