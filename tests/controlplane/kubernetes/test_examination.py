"""What the doctor makes of what a cluster shows."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.kubernetes.certificates import LIFE, make
from controlplane.kubernetes.examination import certificate, shadow_namespaces, without_sidecar

LABELS = {"shop": {"skycap.dev/inject": "enabled"}, "quiet": {}}
OWNER = {"controller": True, "kind": "ReplicaSet", "name": "users-5d8"}


def pod(namespace: str = "shop", *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "users-5d8-x", "namespace": namespace, "labels": {"pod-template-hash": "5d8"}}
    metadata |= {"ownerReferences": [OWNER], "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"containers": [{"name": "web"}], **spec}, "status": {"phase": "Running"}}


SIDECAR = {"initContainers": [{"name": "skycap-proxy"}]}
ATTACHED = {"ephemeralContainers": [{"name": "skycap-attached-1"}]}


@pytest.mark.parametrize("spec", [SIDECAR, ATTACHED])
def test_all_have_one(spec: dict[str, Any]) -> None:
    (check,) = without_sidecar([pod(**spec), pod("quiet")], LABELS)
    assert (check.ok, check.subject, check.found) == (True, "shop", "1 workloads have sidecars")


@pytest.mark.parametrize(
    ("found", "ok", "said", "advice"),
    [
        (pod(), False, "older than its namespace's wish", "kubectl -n shop rollout restart, of users"),
        (pod(hostNetwork=True), False, "host-network", "give it a network of its own"),
        (
            pod(annotations={"skycap.dev/injection": "port-taken: a container uses a port"}),
            False,
            "port-taken",
            "move it",
        ),
        (pod(annotations={"skycap.dev/inject": "disabled"}), True, "disabled", "remove"),
        (pod(nodeSelector={"kubernetes.io/os": "windows"}), True, "windows", ""),
    ],
)
def test_why_one_has_none(found: dict[str, Any], ok: bool, said: str, advice: str) -> None:
    (check,) = without_sidecar([found], LABELS)
    assert (check.ok, check.subject) == (ok, "shop/users")
    assert said in check.found
    assert advice in check.advice


def test_what_ends_is_left_out() -> None:
    done, going = pod(), pod()
    done["status"]["phase"] = "Succeeded"
    going["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert without_sidecar([done, going], LABELS) == []


def test_the_certificate_in_time() -> None:
    now = datetime.now(UTC)
    bundle = base64.b64encode(make(["skycap"], now).authority).decode()
    ends = (now + LIFE).timestamp()
    assert certificate(bundle, now.timestamp()).ok
    late = certificate(bundle, ends - 3600)
    assert (late.ok, "ends on" in late.found) == (False, True)
    assert "has ended" in certificate(bundle, ends + 3600).found
    assert not certificate("", now.timestamp()).ok
    assert not certificate("bm9uc2Vuc2U=", now.timestamp()).ok


@pytest.mark.parametrize(
    ("env", "named"), [([], [""]), ([{"name": "SKYCAP_SHADOW_NAMESPACES", "value": "a, b"}], ["a", "b"])]
)
def test_where_shadows_may_be(env: list[dict[str, str]], named: list[str]) -> None:
    assert shadow_namespaces({"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}) == named
