"""What golden files do not show: a pod that comes twice, and files that cannot be read."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import Installation, Namespace
from controlplane.kubernetes.documents import dump, parse
from controlplane.kubernetes.jsonpatch import difference
from controlplane.kubernetes.names import CHANGES, ENABLED, INJECT
from controlplane.kubernetes.owner import workload_name
from controlplane.kubernetes.patch import patched
from tests.controlplane.cli.conftest import Skycap, skycap  # noqa: F401 (the fixture)

INSTALLATION = Installation(image="skycap:1", registry="http://skycap.skycap-system.svc:7070")
SHOP = Namespace("shop", {INJECT: ENABLED})
POD: dict[str, Any] = {
    "metadata": {"name": "users"},
    "spec": {"containers": [{"name": "web", "image": "a", "ports": [{"containerPort": 80}]}]},
}


def _patched(pod: dict[str, Any], *, admission: bool = True, namespace: Namespace = SHOP) -> dict[str, Any]:
    return patched(pod, decide(pod, namespace, INSTALLATION), INSTALLATION, admission=admission)


def test_what_comes_in_is_not_changed() -> None:
    before = deepcopy(POD)
    once = _patched(POD)
    again = deepcopy(once)
    _patched(once)
    assert (before, again) == (POD, once)


def test_a_second_call_keeps_what_others_gave_to_our_containers() -> None:
    """A LimitRange sets a limit between two calls of the webhook, and would refuse the pod without it."""
    once = _patched(POD)
    proxy, intercept = once["spec"]["initContainers"]
    proxy["resources"]["limits"]["cpu"] = "1"
    proxy["volumeMounts"].append({"name": "kube-api-access-1", "mountPath": "/var/run/secrets/kubernetes.io"})
    intercept["env"] = [{"name": "TZ", "value": "UTC"}]
    assert difference(once, _patched(once)) == []
    assert _patched(once, admission=False) == _patched(POD)


def test_a_container_that_came_between_two_calls_is_seen() -> None:
    once = _patched(POD)
    once["spec"]["containers"].append(
        {"name": "late", "image": "b", "ports": [{"containerPort": 81}], "readinessProbe": {"tcpSocket": {"port": 81}}}
    )
    twice = _patched(once)
    assert twice["spec"]["containers"][1]["readinessProbe"] == {"tcpSocket": {"port": 15080}}
    assert twice["spec"]["initContainers"][1]["command"][-2:] == ["--direct-ports", "15080=81"]


def test_a_pod_that_is_not_to_be_injected_any_more_loses_its_sidecar() -> None:
    assert _patched(_patched(POD), namespace=Namespace("shop")) == POD


@pytest.mark.parametrize("said", ["", "[]", '{"web": 1}', "{"])
def test_nonsense_in_our_annotation_is_nobodys_harm(said: str) -> None:
    once = _patched(POD)
    once["metadata"]["annotations"][CHANGES] = said
    assert _patched(once) == _patched(POD)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"name": "bare"}, "bare"),
        ({"generateName": "bare-"}, "bare"),
        ({}, ""),
        ({"name": "a-1", "ownerReferences": [{"kind": "StatefulSet", "name": "a", "controller": True}]}, "a"),
        ({"name": "a-1", "ownerReferences": [{"kind": "Sandbox", "name": "b"}]}, "a-1"),
        ({"name": "a-1", "ownerReferences": [{"kind": "Job", "name": "a-1", "controller": True}]}, "a-1"),
        ({"name": "a-1", "annotations": {"skycap.dev/workload": "shop/users"}}, "users"),
    ],
)
def test_the_workload_is_what_a_person_has_deployed(metadata: dict[str, Any], name: str) -> None:
    assert workload_name({"metadata": metadata}) == name


# -- documents --------------------------------------------------------------------------------------------------------


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    text = b"a: 0644\nb: yes\nc: 12:30\nd: 2026-01-31\ne: 1_000\nf: 0x10\ng: 1.5\nh: 1:2.5\n<<: {i: 1}\n"
    read = {"a": 420, "b": True, "c": "12:30", "d": "2026-01-31", "e": 1000, "f": 16, "g": 1.5, "h": "1:2.5", "i": 1}
    assert parse(text, "x") == [read]


def test_what_is_written_is_read_again() -> None:
    documents = [{"a": ["0644", "yes", "12:30", "no\nyes\n", "", None, 1.5]}, {"b": {}}]
    assert parse(dump(documents).encode(), "x") == documents


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "FILE:2:1: 'a' stands twice"),
        ("a: [\n", "FILE:2:1: expected the node content"),
        ("a: !!python/object:os.system x\n", "FILE:1:4: could not determine a constructor for the tag"),
        ("kind: Service\n", "FILE: holds no pod, and nothing that has a template of one"),
        ("", "FILE: holds no pod"),
        ("{kind: Pod, spec: {containers: {}}}", "FILE: Pod (without a name): spec.containers is no list of objects"),
        ("{kind: Pod, metadata: {name: a}, spec: {containers: [{}]}}", "FILE: Pod a: spec.containers[0] has no name"),
        (
            "{kind: Pod, metadata: {name: a, annotations: {skycap.dev/admin-port: 9902}}, spec: {}}",
            "FILE: Pod a: metadata.annotations: skycap.dev/admin-port must be text: write '9902' in quotes",
        ),
        (
            "{kind: Pod, spec: {containers: [{name: a, ports: [{containerPort: http}]}]}}",
            "spec.containers[0].ports[0].containerPort is no number",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(skycap: Skycap, tmp_path: Path, text: str, said: str) -> None:  # noqa: F811
    file = tmp_path / "FILE"
    file.write_text(text)
    ended = skycap("inject", "-f", str(file))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err.replace(str(file), "FILE")


def test_a_file_that_is_not_there(skycap: Skycap) -> None:  # noqa: F811
    ended = skycap("inject", "-f", "/nowhere/at.yaml")
    assert ended == (2, "", "skycap: /nowhere/at.yaml: cannot be read: No such file or directory\n")


def test_explain_says_why_and_what_to_do(skycap: Skycap, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "pod.json"
    file.write_text(json.dumps({"kind": "Pod", **POD, "spec": {**POD["spec"], "hostNetwork": True}}))
    ended = skycap("inject", "-f", str(file), "--explain", "--namespace", "shop")
    assert ended.code == 1
    assert ended.out == (
        "Pod shop/users  host-network: the pod has the node's network, where every rule would hold for the whole node\n"
        "    give it a network of its own (hostNetwork: false)\n"
    )
