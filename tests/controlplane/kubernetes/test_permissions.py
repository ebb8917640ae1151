"""What the doctor asks for is what the manifests grant, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.kubernetes.documents import parse
from controlplane.kubernetes.permissions import CLUSTER, OWN, SHADOWS, Needed

RBAC = Path(__file__).parents[3] / "manifests/base/rbac.yaml"


def granted(kind: str, name: str) -> set[tuple[str, str, str, str]]:
    documents = parse(RBAC.read_bytes(), "rbac.yaml")
    (found,) = (one for one in documents if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return {
        (group, resource, named, verb)
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for named in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("kind", "name", "table"),
    [("ClusterRole", "skycap", CLUSTER), ("ClusterRole", "skycap-shadows", SHADOWS), ("Role", "skycap", OWN)],
)
def test_they_are_the_same(kind: str, name: str, table: tuple[Needed, ...]) -> None:
    asked = {(each.group, each.resource, each.name, verb) for each in table for verb in each.verbs}
    assert asked == granted(kind, name)
