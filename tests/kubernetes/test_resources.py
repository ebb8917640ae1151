"""A Sandbox as a resource among others: applied by whoever applies, deleted whoever runs. And a control plane that may
not do what it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.installation import SYSTEM, Installation, users

BINDING = "clusterrolebinding/skycap-shadows"


def sandbox(name: str, ttl: str = "1h") -> str:
    document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": name}}
    return json.dumps({**document, "spec": {"ttl": ttl, "forks": [users("users_v2")]}})


def test_what_gitops_applies_does_not_drift(installed: Installation) -> None:
    """Nothing of a spec is ours: no default is written into it, and nobody fights with who has applied it."""
    argo = ("--server-side", "--field-manager=argocd-controller")
    installed.kubectl("apply", *argo, "-f", "-", given=sandbox("fleeting"))
    installed.ready("fleeting")
    assert installed.kubectl("diff", *argo, "-f", "-", given=sandbox("fleeting")) == ""
    owners = {
        field["manager"]
        for field in json.loads(installed.kubectl("get", "sandbox", "fleeting", "-o", "json", "--show-managed-fields"))[
            "metadata"
        ]["managedFields"]
        if "f:spec" in field["fieldsV1"]
    }
    assert owners == {"argocd-controller"}
    installed.kubectl("apply", *argo, "-f", "-", given=sandbox("fleeting", ttl="2h"))
    installed.until(lambda: installed.sandbox("fleeting")["status"]["revision"] == 2, "the change is taken")
    installed.ready("fleeting")
    generation = installed.sandbox("fleeting")["metadata"]["generation"]
    assert installed.sandbox("fleeting")["status"]["observedGeneration"] == generation == 2
    assert installed.kubectl("diff", *argo, "-f", "-", given=sandbox("fleeting", ttl="2h")) == ""


def test_a_sandbox_is_deleted_although_nobody_leads(installed: Installation) -> None:
    """There is no finalizer that could hang, and its Deployments are its own."""
    installed.apply("orphan", users("users_v2"))
    installed.ready("orphan")
    installed.kubectl("-n", SYSTEM, "scale", "deployment/skycap", "--replicas=0")
    try:
        installed.until(lambda: not installed.objects("pods", "-n", SYSTEM), "nobody runs", seconds=120)
        assert "finalizers" not in installed.sandbox("orphan")["metadata"]
        installed.kubectl("delete", "sandbox", "orphan", "--timeout=20s")
        installed.until(lambda: not installed.shadows(), "the cluster has removed its shadow", seconds=90)
    finally:
        installed.kubectl("-n", SYSTEM, "scale", "deployment/skycap", "--replicas=2")
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
    installed.until(lambda: len(installed.sidecars()) >= 5, "the sidecars are back")
    assert installed.request("users", "/users/ada", key="orphan").served_by == "shop/users;baseline;key=unknown"


@pytest.fixture
def unbound(installed: Installation) -> Iterator[Path]:
    """The control plane may not make shadows any more; the file gives it back what it may."""
    file = installed.folder / "binding.json"
    found = json.loads(installed.kubectl("get", BINDING, "-o", "json"))
    found["metadata"] = {"name": found["metadata"]["name"]}
    file.write_text(json.dumps(found))
    installed.kubectl("delete", BINDING)
    yield file
    installed.kubectl("apply", "-f", str(file))


def test_a_control_plane_without_permission_says_so_and_goes_on_when_it_has_it(
    installed: Installation, unbound: Path
) -> None:
    """Its watches are cut as well, as the API server ends them all: what is known counts until they are back."""
    installed.node.restart_api_server()
    installed.apply("powerless", users("users_v2"))
    installed.until(lambda: "cannot" in installed.condition("powerless")["message"], "it is told", seconds=90)
    message = installed.condition("powerless")["message"]
    assert 'User "system:serviceaccount:skycap-system:skycap" cannot' in message
    assert "`skycap doctor` says what the control plane may not do" in message
    assert installed.request("users", "/users/ada").status == 200
    installed.kubectl("apply", "-f", str(unbound))
    installed.ready("powerless")
    assert installed.request("users", "/users/ada", key="powerless").served_by == "shop/users;sandbox=powerless;rev=1"


def test_a_namespace_that_is_not_allowed(installed: Installation) -> None:
    def limited(value: str) -> None:
        installed.kubectl("-n", SYSTEM, "set", "env", "deployment/skycap", f"SKYCAP_SHADOW_NAMESPACES{value}")
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=180s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")

    limited("=trial,lab")
    try:
        installed.apply("outside", users("users_v2"))
        installed.until(lambda: installed.condition("outside")["reason"] == "Invalid", "it is refused", seconds=90)
        said = "'shop' is no namespace in which this installation starts shadows: it has lab, trial"
        assert f"spec.forks[0].workload: {said}" in installed.condition("outside")["message"]
    finally:
        limited("-")
    installed.ready("outside")


def test_the_fields_of_a_resource_are_shown(installed: Installation) -> None:
    """`kubectl get` of the category has both kinds, and wide output has when it expires."""
    installed.apply("shown", users("users_v2"))
    installed.kubectl("annotate", "sandbox", "shown", "skycap.dev/owner=ada")
    installed.ready("shown")
    wide = installed.kubectl("get", "sbx", "-o", "wide").splitlines()
    assert wide[0].split() == ["NAME", "PHASE", "KEY", "REVISION", "FORKS", "OWNER", "EXPIRES", "AGE"]
    assert wide[1].split()[:6] == ["shown", "Ready", "shown", "1", "shop/users", "ada"]
    assert "sandbox.skycap.dev/shown" in installed.kubectl("get", "skycap", "-o", "name")
