"""A baseline that is deployed anew while it is forked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.documents import apply, container, service
from tests.kubernetes.installation import Installation
from tests.kubernetes.test_ports import PROGRAM


def counter(space: str, version: str) -> list[dict[str, Any]]:
    env = [{"name": "PORTS", "value": "8080"}, {"name": "VERSION", "value": version}]
    app = container(
        "python3", "-c", PROGRAM, ports=[{"name": "http", "containerPort": 8080}], env=env,
        readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    )  # fmt: skip
    return service("counter", space, {"spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}, {80: "http"})


def versions(installed: Installation, space: str, name: str) -> list[str]:
    pods = installed.objects("pods", "-n", space, "-l", f"skycap.dev/sandbox={name}")
    variables = [item for pod in pods for item in pod["spec"]["containers"][0]["env"]]
    return sorted(item["value"] for item in variables if item["name"] == "VERSION")


@pytest.mark.parametrize("follows", [False, True], ids=["told", "followed"])
def test_a_baseline_that_changes(installed: Installation, space: str, follows: bool) -> None:
    apply(installed, *counter(space, "1"))
    installed.kubectl("-n", space, "rollout", "status", "deployment/counter", "--timeout=120s")
    fork = {"workload": f"{space}/counter", "env": {"WHO": "shadow"}, **({"followBaseline": True} if follows else {})}
    installed.apply("tail", fork)
    installed.ready("tail")
    installed.until(lambda: installed.condition("tail", "BaselineCurrent")["status"] == "True", "it is a copy")
    expires = installed.sandbox("tail")["status"]["expires"]
    apply(installed, *counter(space, "2"))
    if follows:
        installed.until(lambda: versions(installed, space, "tail") == ["2"], "the shadow has followed", seconds=120)
        installed.until(lambda: installed.condition("tail", "BaselineCurrent")["status"] == "True", "and says so")
        installed.ready("tail")
        assert installed.sandbox("tail")["status"]["revision"] == 2
    else:
        installed.until(lambda: installed.condition("tail", "BaselineCurrent")["status"] == "False", "it is told")
        told = installed.condition("tail", "BaselineCurrent")
        assert told["reason"] == "BaselineChanged"
        assert told["message"].startswith(f"the pods of {space}/counter are made from another template by now")
        assert versions(installed, space, "tail") == ["1"]
        assert installed.sandbox("tail")["status"]["phase"] == "Ready", "it serves all the same"
    assert installed.sandbox("tail")["status"]["expires"] == expires, "nobody has asked for a longer life"
    assert installed.request("counter", "/", key="tail", namespace=space).body == "shadow 8080"


def test_a_baseline_that_is_scaled_is_still_the_same(installed: Installation, space: str) -> None:
    apply(installed, *counter(space, "1"))
    installed.kubectl("-n", space, "rollout", "status", "deployment/counter", "--timeout=120s")
    installed.apply("still", {"workload": f"{space}/counter", "env": {"WHO": "shadow"}, "followBaseline": True})
    installed.ready("still")
    installed.kubectl("-n", space, "scale", "deployment/counter", "--replicas=2")
    installed.kubectl("-n", space, "rollout", "status", "deployment/counter", "--timeout=120s")
    status = installed.sandbox("still")["status"]
    assert (status["revision"], status["phase"]) == (1, "Ready")
