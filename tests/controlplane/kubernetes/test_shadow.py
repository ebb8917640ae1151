"""The Deployment of a shadow, made from what the baseline runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import Installation, Namespace
from controlplane.kubernetes.patch import patched
from controlplane.kubernetes.shadow import claims, repository, selecting, shadow, shadow_name
from controlplane.launch.port import LaunchRequest
from controlplane.model.sandbox import Fork

BASELINE: dict[str, Any] = {
    "metadata": {"name": "users", "namespace": "shop", "labels": {"app": "users"}},
    "spec": {
        "replicas": 7,
        "template": {
            "metadata": {"labels": {"app": "users", "tier": "back"}, "annotations": {"checksum/config": "1"}},
            "spec": {
                "serviceAccountName": "users",
                "nodeSelector": {"disk": "fast"},
                "containers": [
                    {"name": "helper", "image": "registry:5000/helper:2"},
                    {
                        "name": "web",
                        "image": "registry:5000/users:1",
                        "args": ["--serve"],
                        "env": [
                            {"name": "A", "value": "1"},
                            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "b"}}},
                        ],
                        "ports": [{"containerPort": 8080, "hostPort": 80}],
                        "resources": {"requests": {"cpu": "1"}},
                    },
                ],
            },
        },
    },
}


def made(fork: dict[str, Any], baseline: dict[str, Any] = BASELINE, sandbox: str = "agent-42") -> dict[str, Any]:
    before = deepcopy(baseline)
    request = LaunchRequest(sandbox, "key", 3, Fork.model_validate({"workload": "shop/users", **fork}))
    found = shadow(baseline, request, "uid-1")
    assert baseline == before, "what comes in is not changed"
    return found


def test_the_baselines_pod_with_another_image() -> None:
    found = made({"image": "registry:5000/users:pr-7", "env": {"B": "2", "C": "3"}})
    spec = found["spec"]["template"]["spec"]
    helper, web = spec["containers"]
    assert helper == {
        "name": "helper", "image": "registry:5000/helper:2",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }  # fmt: skip
    assert web == {
        "name": "web",
        "image": "registry:5000/users:pr-7",
        "args": ["--serve"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "1"}},
    }
    assert (spec["serviceAccountName"], spec["nodeSelector"]) == ("users", {"disk": "fast"})
    assert found["spec"]["replicas"] == 1
    assert found["metadata"]["ownerReferences"][0] | {"controller": 1} == {
        "apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "name": "agent-42", "uid": "uid-1", "controller": 1,
        "blockOwnerDeletion": False,
    }  # fmt: skip


def test_nothing_that_selects_the_baseline_selects_it() -> None:
    found = made({"image": "a"})
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert labels == {
        "skycap.dev/sandbox": "agent-42", "skycap.dev/fork": "users", "skycap.dev/revision": "3",
        "skycap.dev/inject": "enabled",
    }  # fmt: skip
    assert found["spec"]["template"]["metadata"]["annotations"] == {
        "checksum/config": "1", "skycap.dev/workload": "users", "skycap.dev/routing-key": "key",
        "skycap.dev/revision": "3",
    }  # fmt: skip
    services: list[dict[str, Any]] = [
        {"metadata": {"name": "users"}, "spec": {"selector": {"app": "users"}}},
        {"metadata": {"name": "by-hand"}, "spec": {}},
        {"metadata": {"name": "greedy"}, "spec": {"selector": {"skycap.dev/fork": "users"}}},
    ]
    assert selecting(services, labels) == ["greedy"]


def test_a_command_takes_the_arguments_with_it() -> None:
    annotated = deepcopy(BASELINE)
    annotated["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] = "web"
    web = made({"command": ["python", "users_v2.py"]}, annotated)["spec"]["template"]["spec"]["containers"][1]
    assert web["command"] == ["python", "users_v2.py"]
    assert "args" not in web
    assert made({"command": ["a"]})["spec"]["template"]["spec"]["containers"][0]["command"] == ["a"], "the first one"


def test_a_baseline_that_was_injected_in_a_file() -> None:
    installation = Installation("skycap", "http://10.0.0.1:7070")
    injected = deepcopy(BASELINE)
    pod = {**injected["spec"]["template"], "metadata": {**injected["spec"]["template"]["metadata"], "name": "users"}}
    decision = decide(pod, Namespace("shop", {"skycap.dev/inject": "enabled"}), installation)
    injected["spec"]["template"] = patched(injected["spec"]["template"], decision, installation)
    assert injected["spec"]["template"] != BASELINE["spec"]["template"]
    assert made({"image": "a"}, injected) == made({"image": "a"})


def test_the_claims_of_a_statefulset_stay_its_own() -> None:
    stateful = deepcopy(BASELINE)
    stateful["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
    stateful["spec"]["template"]["spec"]["volumes"] = [{"name": "c", "persistentVolumeClaim": {"claimName": "common"}}]
    spec = made({"image": "a"}, stateful)["spec"]["template"]["spec"]
    assert spec["volumes"][1] == {"name": "data", "emptyDir": {}}
    assert claims(spec) == ["common"]


def test_names_are_short_enough_and_differ() -> None:
    assert shadow_name("agent-42", "shop/users", 3) == "users-agent-42-3"
    long = shadow_name("a" * 63, "shop/" + "b" * 63, 123)
    assert len(long) <= 52
    assert long.endswith("-123")
    assert long != shadow_name("a" * 62 + "c", "shop/" + "b" * 63, 123)


def test_an_images_repository() -> None:
    for image in ("r:5000/a/b", "r:5000/a/b:1", "r:5000/a/b@sha256:1", "r:5000/a/b:1@sha256:1"):
        assert repository(image) == "r:5000/a/b"


def test_arguments_and_values_that_the_cluster_knows() -> None:
    sources = [
        {"name": "A", "secretKeyRef": {"name": "a", "key": "b"}},
        {"name": "IP", "fieldRef": {"fieldPath": "status.podIP"}},
    ]
    web = made({"image": "registry:5000/users:2", "args": ["--debug"], "env": {"C": "3"}, "valueFrom": sources})
    container = web["spec"]["template"]["spec"]["containers"][1]
    assert container["args"] == ["--debug"]
    assert container["env"] == [
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "b"}}},
        {"name": "C", "value": "3"},
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    both = made({"command": ["a"], "args": ["b"]})["spec"]["template"]["spec"]["containers"][0]
    assert (both["command"], both["args"]) == (["a"], ["b"])
