"""The command line of a person who has a kubeconfig and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kubernetes.cluster.images import SKYCAP
from tests.kubernetes.installation import SERVICES, SYSTEM, Installation, users

PROGRAM = Path(sys.executable).parent / "kubectl-skycap"


class Person:
    """kubeconfig: all that they have. home: their own."""

    def __init__(self, installed: Installation, kubeconfig: Path, home: Path) -> None:
        self._installed = installed
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(kubeconfig)}
        self.home = home

    def __call__(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        with self._installed.node.inside():
            return subprocess.run(
                [str(PROGRAM), *arguments], input=given, capture_output=True, text=True, env=self._environ, timeout=120
            )


@pytest.fixture
def admin(installed: Installation, tmp_path: Path) -> Person:
    return Person(installed, installed.node.kubeconfig, tmp_path)


def somebody(installed: Installation, home: Path, name: str, role: str) -> Person:
    """A user of the cluster who has that role in our namespace, and none elsewhere."""
    installed.kubectl("-n", SYSTEM, "create", "serviceaccount", name)
    if role:
        binding = ["rolebinding", name, f"--role={role}", f"--serviceaccount={SYSTEM}:{name}"]
        installed.kubectl("-n", SYSTEM, "create", *binding)
    document = json.loads(installed.node.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": installed.kubectl("-n", SYSTEM, "create", "token", name).strip()}
    file = home / "kubeconfig"
    file.write_text(json.dumps(document))
    return Person(installed, file, home)


def test_what_can_be_forked(admin: Person) -> None:
    ended = admin("workloads", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    found = {item["workload"]: item for item in json.loads(ended.stdout)["items"]}
    assert all(found[f"shop/{name}"]["baseline"] and found[f"shop/{name}"]["sidecars"] for name in SERVICES)
    assert found["skycap-system/skycap"]["sidecars"] == 0
    assert "shop/users" in admin("workloads").stdout


def test_a_sandbox_from_the_command_line(installed: Installation, admin: Person) -> None:
    command = " ".join(users("users_v2")["command"])
    applied = admin("sandbox", "apply", "by-hand", "--fork", "shop/users", "--image", SKYCAP, "--command", command)
    assert applied.returncode == 0, applied.stderr
    applied = admin("sandbox", "wait", "by-hand")
    assert applied.returncode == 0, applied.stderr
    assert "shop/users;sandbox=by-hand;rev=1" in installed.checkout("by-hand").served_by
    assert admin("sandbox", "assert", "by-hand", "shop/users").returncode == 0
    assert "by-hand" in installed.kubectl("get", "sbx")
    assert admin("sandbox", "delete", "by-hand").returncode == 0
    assert not list((admin.home / ".local/state/skycap/tokens").iterdir()), "a token is left"


def test_roles_are_those_of_the_cluster(installed: Installation, tmp_path: Path) -> None:
    users_home, viewers_home, strangers_home = (tmp_path / name for name in ("user", "viewer", "stranger"))
    for home in (users_home, viewers_home, strangers_home):
        home.mkdir()
    user = somebody(installed, users_home, "ada", "skycap-user")
    viewer = somebody(installed, viewers_home, "bob", "skycap-viewer")
    stranger = somebody(installed, strangers_home, "eve", "")
    refused = viewer("sandbox", "delete", "nothing")
    assert (user("sandbox", "list").returncode, viewer("sandbox", "list").returncode) == (0, 0)
    assert user("sandbox", "delete", "nothing").returncode == 3
    assert refused.returncode == 5
    assert "viewer" in refused.stderr
    ended = stranger("sandbox", "list")
    assert (ended.returncode, ended.stderr.count("\n")) == (5, 1)
    assert "skycap-user" in ended.stderr


def test_a_restarted_leader_is_found_again(installed: Installation, admin: Person) -> None:
    with installed.node.inside():
        following = subprocess.Popen(
            [str(PROGRAM), "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=admin._environ
        )
    assert following.stdin is not None
    assert following.stdout is not None

    def ask(number: int, method: str, **params: object) -> dict[str, object]:
        assert following.stdin is not None
        assert following.stdout is not None
        print(
            json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), file=following.stdin,
            flush=True,
        )  # fmt: skip
        while True:
            answer: dict[str, object] = json.loads(following.stdout.readline())
            if answer.get("id") == number:
                return answer

    try:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        ask(1, "initialize", **hello)
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), file=following.stdin, flush=True)
        assert "shop/users" in json.dumps(ask(2, "tools/call", name="list_workloads", arguments={}))
        before = installed.leader()
        installed.kubectl("-n", SYSTEM, "delete", "pod", before, "--wait=true")
        installed.until(lambda: installed.leader() not in ("", before), "another one leads")
        installed.until(lambda: len(installed.sidecars()) == len(SERVICES), "the sidecars are back")
        assert "shop/users" in json.dumps(ask(3, "tools/call", name="list_workloads", arguments={}))
    finally:
        following.stdin.close()
        following.wait(20)
        following.stdout.close()


def test_no_cluster_in_one_line(installed: Installation, tmp_path: Path) -> None:
    ended = Person(installed, tmp_path / "missing", tmp_path)("sandbox", "list")
    assert (ended.returncode, ended.stderr.count("\n")) == (5, 1)
    assert f"{tmp_path}/missing does not exist" in ended.stderr


def test_doctor_finds_nothing(installed: Installation, admin: Person) -> None:
    ended = admin("doctor")
    assert ended.returncode == 0, ended.stdout
    for words in (
        "cluster: Kubernetes v1",
        "control plane: 2 replicas are ready",
        "may do what it has to",
        "its certificate is trusted, and good until",
        "it answers the API server, tried with a pod in shop",
        f"shop: {len(SERVICES)} workloads have sidecars",
        "services: none of them selects a shadow",
        "shop/users: its sidecar is in sync",
    ):
        assert words in ended.stdout


def test_doctor_finds_what_is_wrong(installed: Installation, admin: Person) -> None:
    kubectl = installed.kubectl
    kubectl("create", "namespace", "ward")
    kubectl("-n", "ward", "create", "deployment", "early", f"--image={SKYCAP}", "--", "sleep", "infinity")
    on_node = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
    kubectl("-n", "ward", "rollout", "status", "deployment/early", "--timeout=60s")
    kubectl("label", "namespace", "ward", "skycap.dev/inject=enabled")
    kubectl("-n", "ward", "create", "deployment", "noded", f"--image={SKYCAP}", "--", "sleep", "infinity")
    kubectl("-n", "ward", "patch", "deployment", "noded", "-p", json.dumps(on_node))
    kubectl("-n", "ward", "rollout", "status", "deployment/noded", "--timeout=60s")
    try:
        ended = admin("doctor")
        assert ended.returncode == 1
        assert "WRONG ward/early: no sidecar: early-" in ended.stdout
        assert "older than its namespace's wish for sidecars" in ended.stdout
        assert "WRONG ward/noded: no sidecar: host-network" in ended.stdout
    finally:
        kubectl("delete", "namespace", "ward", "--wait=true")


def test_doctor_misses_a_permission(installed: Installation, admin: Person) -> None:
    role = json.loads(installed.kubectl("get", "clusterrole", "skycap-shadows", "-o", "json"))
    rest = [rule for rule in role["rules"] if "persistentvolumeclaims" not in rule["resources"]]
    installed.kubectl("patch", "clusterrole", "skycap-shadows", "-p", json.dumps({"rules": rest}), "--type=merge")
    try:
        ended = admin("doctor")
        assert "get persistentvolumeclaims" in ended.stdout
        assert ended.returncode == 1
    finally:
        rules = json.dumps({"rules": role["rules"]})
        installed.kubectl("patch", "clusterrole", "skycap-shadows", "-p", rules, "--type=merge")
