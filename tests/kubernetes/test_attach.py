"""The sidecar in a pod that runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.installation import Installation
from tests.kubernetes.test_commands import Person

SHOP = "controlplane.demo.shop"


@pytest.fixture
def bare(installed: Installation) -> Iterator[str]:
    """A namespace that asks for no sidecars, with users in it; its one pod."""
    kubectl = installed.kubectl
    container = {
        "name": "users",
        "image": SKYCAP,
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", f"{SHOP}.users"],
        "env": [{"name": "HOST", "value": "0.0.0.0"}, {"name": "PORT", "value": "8080"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
    }
    labels = {"app": "users"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "users", "namespace": "bare"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    kubectl("create", "namespace", "bare")
    kubectl("apply", "-f", "-", given=json.dumps(deployment))
    kubectl("-n", "bare", "expose", "deployment", "users", "--port=80", "--target-port=http")
    kubectl("-n", "bare", "rollout", "status", "deployment/users", "--timeout=60s")
    yield kubectl("-n", "bare", "get", "pods", "-o", "name").strip().partition("/")[2]
    kubectl("delete", "namespace", "bare", "--wait=true")


def started(installed: Installation, pod: str) -> tuple[str, int]:
    (status,) = json.loads(installed.kubectl("-n", "bare", "get", "pod", pod, "-o", "json"))["status"][
        "containerStatuses"
    ]
    return status["containerID"], status["restartCount"]


def test_attach_route_detach(installed: Installation, bare: str, tmp_path: Path) -> None:
    admin = Person(installed, installed.node.kubeconfig, tmp_path)
    before = started(installed, bare)

    attached = admin("attach", "bare/users")
    assert attached.returncode == 0, attached.stdout + attached.stderr
    assert f"ok    {bare}: has a sidecar, skycap-attached-1" in attached.stdout
    assert "pods that are made from now on have none" in attached.stderr
    assert "has a sidecar already" in admin("attach", "bare/users").stdout

    fork = {"workload": "bare/users", "image": SKYCAP, "command": ["python3", "-m", f"{SHOP}.users_v2"]}
    installed.apply("late", fork)
    installed.ready("late")
    plain = installed.request("users", "/users/ada", namespace="bare")
    keyed = installed.request("users", "/users/ada", key="late", namespace="bare")
    assert (plain.status, plain.served_by) == (200, "")
    assert (keyed.status, keyed.served_by) == (200, "bare/users;sandbox=late;rev=1")
    assert started(installed, bare) == before, "the application was restarted"
    assert "WRONG" not in [line for line in admin("doctor").stdout.splitlines() if "bare/" in line]

    detached = admin("detach", "bare/users")
    assert detached.returncode == 0, detached.stdout + detached.stderr
    keyed = installed.request("users", "/users/ada", key="late", namespace="bare")
    assert (keyed.status, keyed.served_by) == (200, ""), "nobody reads the key any more"
    again = admin("attach", "bare/users", "--hours", "0.25")
    assert "skycap-attached-2" in again.stdout
    assert admin("detach", "bare/users").returncode == 0
    assert started(installed, bare) == before


def test_a_sidecar_that_dies_harms_nobody(installed: Installation, bare: str, tmp_path: Path) -> None:
    admin = Person(installed, installed.node.kubeconfig, tmp_path)
    assert admin("attach", "bare/users").returncode == 0
    find = (
        "import os, signal\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    if pid not in ('1', str(os.getpid())) and b'--transparent' in open(f'/proc/{pid}/cmdline', 'rb').read():\n"
        "        os.kill(int(pid), signal.SIGKILL)\n"
    )
    installed.kubectl("-n", "bare", "exec", bare, "-c", "skycap-attached-1", "--", "python3", "-c", find)

    def answers() -> bool:
        try:
            return installed.request("users", "/users/ada", namespace="bare", seconds=2).status == 200
        except subprocess.CalledProcessError:  # until it is noticed, connections are led to nobody
            return False

    installed.until(answers, "the application answers")
    log = ("-n", "bare", "logs", bare, "-c", "skycap-attached-1")
    installed.until(lambda: installed.kubectl(*log).count("are led through the sidecar") == 2, "it is back")
    assert answers()


def test_what_cannot_be_attached(installed: Installation, tmp_path: Path) -> None:
    admin = Person(installed, installed.node.kubeconfig, tmp_path)
    missing = admin("attach", "shop/nothing")
    assert (missing.returncode, missing.stderr.count("\n")) == (5, 1)
    assert "there is no Deployment, StatefulSet or DaemonSet shop/nothing" in missing.stderr
    ours = admin("attach", "skycap-system/skycap")
    assert ours.returncode == 1
    assert "system-namespace" in ours.stdout
    assert "has a sidecar already" in admin("attach", "shop/users").stdout
